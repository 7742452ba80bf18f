"""Methods that harm their process, as the text of a plugin's file."""

TEXT = """
import ctypes, os, subprocess, sys, time
from pathlib import Path
import torch
from kdarena import Method, Paper, hookimpl, no_teachers

def made(name, harm, cause="loss"):
    class Harms:
        method = Method(name, "t", Paper("t", "v", 2026, "u"), teachers=no_teachers)
        @hookimpl
        def loss(self, step):
            if not getattr(self, "done", False):
                self.done = True
                harm()
            return {"task": step.task.loss(step.student, step.targets)}
    return Harms

def close_output():
    os.close(1)
    sys.stdout.close()

def delete():
    for path in Path("out").rglob("*.safetensors"):
        path.unlink()

variants = (
    made("segfaults", lambda: ctypes.string_at(0)),
    made("aborts", os.abort),
    made("ends", lambda: os._exit(0)),
    made("hungry", lambda: torch.empty(2**50)),
    made("closes", close_output),
    made("moves", lambda: os.chdir("/")),
    made("child", lambda: subprocess.Popen(["sleep", "1000"])),
    made("deletes", delete),
    made("sleeps", lambda: time.sleep(1000)),
)
"""
