"""MLflow's page: on the record's store, and gone with the command."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time

import psutil
import pytest

from kdarena.cli import ui_command
from kdarena.record.runs import Record


@pytest.mark.parametrize(("chosen", "served"), [(None, "sqlite:///{out}/mlflow.db"), ("sqlite:///elsewhere.db", "sqlite:///elsewhere.db")])
def test_the_page_shows_the_store_that_the_record_is_kept_in(kdarena, empty_output, tmp_path, monkeypatch, chosen, served):
    shutil.copytree(empty_output, tmp_path / "out")
    if chosen is not None:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", chosen)
    called = []
    monkeypatch.setattr(ui_command, "serve", lambda arguments: called.append(arguments) or 0)
    monkeypatch.setattr(ui_command, "check_port", lambda port: None)
    assert kdarena("ui", "--out", tmp_path / "out").returncode == 0
    (arguments,) = called
    assert arguments[arguments.index("--backend-store-uri") + 1] == served.format(out=(tmp_path / "out").as_posix())
    assert arguments[arguments.index("--host") + 1] == "127.0.0.1"


def test_of_a_record_on_a_server_the_page_is_the_servers(kdarena, empty_output, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://mlflow.example.org")
    done = kdarena("ui", "--out", empty_output)
    assert (done.returncode, "https://mlflow.example.org" in done.stderr) == (0, True)


def test_a_port_that_is_taken_is_one_line_and_status_2_before_anything_starts(kdarena, empty_output, monkeypatch):
    monkeypatch.setattr(ui_command, "serve", lambda arguments: pytest.fail("started"))
    monkeypatch.setattr(Record, "open", lambda *arguments, **named: pytest.fail("opened"))
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        done = kdarena("ui", "--out", empty_output, "--port", port)
    assert done.returncode == 2
    assert done.stderr == f"kdarena: --port {port}: is not free on 127.0.0.1 (Address already in use); choose another\n"


# in the place of MLflow: a server with a child of its own, which both ignore SIGTERM
SERVER = """
import os, signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(120)"])
print(os.getpid(), child.pid, flush=True)
time.sleep(120)
"""
SERVE = "import sys; from kdarena.cli import ui_command; ui_command.PATIENCE = 0.2; sys.exit(ui_command.serve([]))"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_the_server_ends_with_the_command_however_it_ends(tmp_path, number):
    (tmp_path / "mlflow.py").write_text(SERVER)
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    with subprocess.Popen([sys.executable, "-c", SERVE], stdout=subprocess.PIPE, text=True, env=environment) as command:
        servers = [psutil.Process(int(pid)) for pid in command.stdout.readline().split()]
        assert len(servers) == 2
        command.send_signal(number)
        assert command.wait(30) == (-signal.SIGKILL if number == signal.SIGKILL else 0)
    end = time.monotonic() + 20
    while time.monotonic() < end and any(alive(server) for server in servers):
        time.sleep(0.05)
    assert not any(alive(server) for server in servers)


def alive(process):
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
