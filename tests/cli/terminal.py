"""The real command in a pseudo-terminal of a given width, and what its screen then shows."""

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios

ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Terminal:
    """A command that was started."""

    def __init__(self, width, *arguments):
        self.width = width
        self._screen, terminal = pty.openpty()
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, width, 0, 0))
        environment = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES", "NO_COLOR")} | {"TERM": "xterm"}
        command = [sys.executable, "-m", "kdarena", *map(str, arguments)]
        self._process = subprocess.Popen(command, stdin=terminal, stdout=terminal, stderr=terminal, env=environment, start_new_session=True)
        os.close(terminal)

    def lines(self):
        """All lines that it printed, without colours, once it has ended; its exit status has to be 0."""
        printed = b""
        while True:
            try:
                part = os.read(self._screen, 65536)
            except OSError:  # how a pseudo-terminal says that its last user is gone
                break
            if not part:
                break
            printed += part
        os.close(self._screen)
        assert self._process.wait(60) == 0, printed.decode()
        return [line.rstrip() for line in ESCAPES.sub("", printed.decode()).replace("\r\n", "\n").split("\n")]
