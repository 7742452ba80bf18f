"""Debian's Chromium, headless, driven by its DevTools protocol over a pipe: JSON messages, each ended by a NUL."""

from __future__ import annotations

import base64
import fcntl
import json
import os
import select
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
PATIENCE = 60.0
"""Seconds that an answer is waited for: the machine may be busy."""


def executable() -> str | None:
    """Where the browser is, or None."""
    return next(filter(None, map(shutil.which, NAMES)), None)


class Browser:
    """A browser process; one page at a time."""

    def __init__(self, folder: Path):
        asked_read, self._asked = os.pipe()
        self._answers, answers_write = os.pipe()
        low = [fcntl.fcntl(descriptor, fcntl.F_DUPFD, 10) for descriptor in (asked_read, answers_write)]

        def as_the_protocol_says() -> None:
            os.dup2(low[0], 3)
            os.dup2(low[1], 4)

        arguments = ["--headless", "--no-sandbox", "--remote-debugging-pipe", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]
        arguments += ["--disable-background-networking", f"--user-data-dir={folder / 'profile'}"]
        self._log = (folder / "browser.log").open("wb")
        self._process = subprocess.Popen(
            [str(executable()), *arguments], stdin=subprocess.DEVNULL, stdout=self._log, stderr=self._log, preexec_fn=as_the_protocol_says, pass_fds=(3, 4)
        )
        for descriptor in (asked_read, answers_write, *low):
            os.close(descriptor)
        self._buffer, self._number = b"", 0
        self.events: list[dict[str, Any]] = []

    def close(self) -> None:
        """End the browser."""
        try:
            self.ask("Browser.close")
            self._process.wait(10)
        except (OSError, TimeoutError, subprocess.TimeoutExpired):
            self._process.kill()
            self._process.wait()
        os.close(self._asked)
        os.close(self._answers)
        self._log.close()

    def ask(self, method: str, session: str | None = None, **params: Any) -> dict[str, Any]:
        """Send a command and wait for its answer; events that come meanwhile are kept."""
        self._number += 1
        number = self._number
        message = {"id": number, "method": method, "params": params, **({"sessionId": session} if session else {})}
        os.write(self._asked, json.dumps(message).encode() + b"\0")
        end = time.monotonic() + PATIENCE
        while True:
            answer = self._next(end)
            if answer.get("id") == number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']['message']}")
                return answer["result"]
            self.events.append(answer)

    def _next(self, end: float) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            if not select.select([self._answers], [], [], max(end - time.monotonic(), 0))[0]:
                raise TimeoutError("the browser does not answer")
            part = os.read(self._answers, 1 << 20)
            if not part:
                raise OSError("the browser has ended")
            self._buffer += part
        text, _, self._buffer = self._buffer.partition(b"\0")
        return json.loads(text)

    def open(self, address: str, width: int = 1280, height: int = 900, *, dark: bool = False, script: bool = True) -> Tab:
        """A page in a tab of its own, loaded."""
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        tab = Tab(self, target, session)
        for domain in ("Page", "Runtime", "Log", "Network"):
            tab.ask(f"{domain}.enable")
        tab.ask("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600)
        tab.ask("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}])
        tab.ask("Emulation.setScriptExecutionDisabled", value=not script)
        tab.ask("Page.navigate", url=address)
        tab.wait_for("document.readyState === 'complete'")
        return tab


class Tab:
    """An open page."""

    def __init__(self, browser: Browser, target: str, session: str):
        self._browser, self._target, self._session = browser, target, session

    def ask(self, method: str, **params: Any) -> dict[str, Any]:
        return self._browser.ask(method, self._session, **params)

    def close(self) -> None:
        self._browser.ask("Target.closeTarget", targetId=self._target)

    def value(self, expression: str) -> Any:
        """What an expression gives, as a JSON value."""
        answer = self.ask("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(answer["exceptionDetails"]["exception"]["description"])
        return answer["result"].get("value")

    def wait_for(self, expression: str) -> None:
        """Until an expression is true."""
        end = time.monotonic() + PATIENCE
        while not self.value(expression):
            if time.monotonic() > end:
                raise TimeoutError(expression)
            time.sleep(0.05)

    def press(self, key: str) -> None:
        """A key, as from the keyboard."""
        text = {"Enter": "\r"}.get(key, "")
        self.ask("Input.dispatchKeyEvent", type="keyDown", key=key, code=key, text=text, windowsVirtualKeyCode={"Enter": 13, "Tab": 9}[key])
        self.ask("Input.dispatchKeyEvent", type="keyUp", key=key, code=key)

    def type(self, text: str) -> None:
        """Text into what has the focus."""
        self.ask("Input.insertText", text=text)

    def errors(self) -> list[str]:
        """What the console says of errors and warnings since the page was opened."""
        said = []
        for event in self._events():
            params = event.get("params", {})
            if event.get("method") == "Runtime.exceptionThrown":
                said.append(params["exceptionDetails"].get("exception", {}).get("description") or params["exceptionDetails"]["text"])
            elif event.get("method") == "Runtime.consoleAPICalled" and params["type"] in ("error", "warning", "assert"):
                said.append(" ".join(str(one.get("value") or one.get("description")) for one in params["args"]))
            elif event.get("method") == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning"):
                said.append(params["entry"]["text"])
        return said

    def requests(self) -> list[str]:
        """Every address that was asked for since the page was opened, but for those whose content is in them."""
        asked = [event["params"]["request"]["url"] for event in self._events() if event.get("method") == "Network.requestWillBeSent"]
        return [address for address in asked if not address.startswith("data:")]

    def _events(self) -> list[dict[str, Any]]:
        self.value("1")  # those that are under way arrive before the answer
        return [event for event in self._browser.events if event.get("sessionId") == self._session]

    def screenshot(self, *, whole: bool = False) -> bytes:
        """A PNG of what is seen, or of the whole page."""
        return base64.b64decode(self.ask("Page.captureScreenshot", format="png", captureBeyondViewport=whole)["data"])

    def pdf(self) -> bytes:
        """The page as it is printed."""
        return base64.b64decode(self.ask("Page.printToPDF", printBackground=True)["data"])
