"""What a hook leaves running: its own threads and processes, not those of torch's compiler."""

import subprocess
import sys
import threading
from pathlib import Path

import torch
from torch._inductor.compile_worker.timer import Timer

from kdarena.execute.left_running import LeftRunning


def test_a_thread_of_torchs_compiler_is_no_methods():
    running = LeftRunning()
    timer = Timer(0.4, lambda: None)
    timer.record_call()
    try:
        assert "subproc_worker_timer" in {thread.name for thread in threading.enumerate()}
        assert running.new() == []
    finally:
        timer.quit()


def test_a_thread_of_that_name_whose_work_is_not_the_compilers_is_one():
    running, end = LeftRunning(), threading.Event()
    thread = threading.Thread(target=end.wait, name="InductorSubproc")
    thread.start()
    try:
        assert running.new() == ["thread 'InductorSubproc'"]
    finally:
        end.set()
        thread.join()


def test_a_process_of_torchs_compiler_is_no_methods_and_any_other_is():
    running = LeftRunning()
    compiles = str(Path(torch.__file__).parent / "_inductor" / "compile_worker" / "__main__.py")
    processes = [subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)", *more]) for more in ([compiles], [])]
    try:
        (found,) = running.new()
        assert found.startswith(f"process {processes[1].pid} ")
    finally:
        for process in processes:
            process.kill()
            process.wait()
