"""What one run does to its worker changes nothing in the next run, and its own result says what it did."""

import os
import signal
import time

import psutil
import pytest
from engines.tools import result_of

from kdarena.engines.engine import answer_from
from kdarena.engines.local import LocalEngine
from kdarena.method.discovery import discover
from kdarena.plan.cost import ProfileSpec
from kdarena.plan.spec import Budget, PhaseCost, RunSpec
from kdarena.tracks import find_card

CULPRITS = """
import os, subprocess, threading, time
from pathlib import Path

import torch
from torch.nn import functional
from kdarena import Method, Paper, hookimpl, no_teachers

HERE = Path(__file__).parent
calls = 0

def make(name, act):
    class Culprit:
        method = Method(name, name, Paper("t", "v", 2026, "u"), teachers=no_teachers)
        @hookimpl
        def loss(self, step):
            terms = {"task": functional.cross_entropy(step.student.logits, step.targets)}
            if step.progress >= 0.5:
                act()
            return terms
    return Culprit

def patch():
    original = functional.cross_entropy
    functional.cross_entropy = lambda *arguments, **keywords: 0.9 * original(*arguments, **keywords)

def no_gradients():
    torch.set_grad_enabled(False)
    raise RuntimeError("stopped without gradients")

def fork():
    # the child goes on as if it were the worker, until it has something to say
    done = HERE / "forked"
    if not done.exists():
        done.touch()
        os.fork()

def orphan():
    if not (HERE / "orphan").exists():
        child = subprocess.Popen(["sleep", "1000"])
        (HERE / "orphan").write_text(str(child.pid))

def orphan_and_sleep():
    orphan()
    time.sleep(1000)

def escape_and_sleep():
    child = subprocess.Popen(["sleep", "1000"], start_new_session=True)
    (HERE / "orphan").write_text(str(child.pid))
    time.sleep(1000)

def thread():
    if threading.active_count() < 20:
        threading.Thread(target=time.sleep, args=(1000,), name="prefetch", daemon=True).start()

def misanswer(key):
    import json, gc
    gc.unfreeze()  # what a worker has loaded is not among the objects otherwise
    (answers,) = [one for one in gc.get_objects() if type(one).__name__ == "Answers"]
    answers._file.write(json.dumps({"result": {"key": key, "status": "done"}}) + "\\n" if key else "no answer\\n")
    answers._file.flush()
    time.sleep(1000)

variants = (
    make("innocent", lambda: None),
    make("autocast", lambda: torch.set_autocast_enabled("cpu", True)),
    make("patches", patch),
    make("dtype", lambda: torch.set_default_dtype(torch.float64)),
    make("no-gradients", no_gradients),
    make("deterministic", lambda: torch.use_deterministic_algorithms(True)),
    make("threads", lambda: torch.set_num_threads(2)),
    make("environ", lambda: os.environ.update(OMP_DYNAMIC="true")),
    make("directory", lambda: os.chdir("/")),
    make("prefetches", thread),
    make("forks", fork),
    make("orphans", orphan),
    make("foreign", lambda: misanswer("0123456789abcdef")),
    make("garbles", lambda: misanswer("")),
    make("endless", lambda: time.sleep(1000)),
    make("allocates", lambda: torch.empty(2**46)),
    make("sleeps", orphan_and_sleep),
    make("escapes", escape_and_sleep),
)
"""

NOTES = {
    "autocast": "left torch's autocast for cpu on (before: off)",
    "patches": "left torch.nn.functional.cross_entropy patched",
    "dtype": "left torch's default dtype torch.float64 (before: torch.float32)",
    "no-gradients": "left torch's grad mode off (before: on)",
    "deterministic": "left torch's deterministic algorithms 2 (before: 0)",
    "threads": "left torch's threads 2 (before: 1)",
    "environ": "left variable OMP_DYNAMIC of the environment true (before: not set)",
    "directory": "left the current directory / (before: ",
    "prefetches": "left thread 'prefetch' running",
}


ERRORS = {
    "no-gradients": "stopped without gradients",
    "patches": "plugin 'patches' replaced torch.nn.functional.cross_entropy while it ran",
    "prefetches": "hook 'loss': it left thread 'prefetch' running",
}
"""What a run's own result says, where it is more than a note."""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "culprits.py").write_text(CULPRITS)
    return tmp_path


@pytest.fixture
def start(folder):
    """Makes engines with one worker."""
    engines = []

    def made(silence_limit=60.0):
        engines.append(
            LocalEngine(
                devices=["cpu"],
                threads=1,
                teachers=folder / "t",
                output=folder / "o",
                log=folder / "log",
                plugin_paths=[str(folder / "culprits.py")],
                silence_limit=silence_limit,
            )
        )
        return engines[-1]

    yield made
    for one in engines:
        one.close()


def spec(method, folder, seed=0):
    source = next(one.source for one in discover([folder / "culprits.py"]) if one.name == method)
    return RunSpec("digits", method, source, "final", seed, Budget(60, "flop"), (PhaseCost("train", None, 1.0, 1.0, None, None, 0),), data=DIGITS.digest(None))


DIGITS = find_card("digits")


def values(result):
    """What has to be the same, bit for bit."""
    return result.status, result.metrics, result.curves, result.phases


def group(worker):
    """Live processes of a worker's group."""
    return [process.pid for process in psutil.process_iter() if process.status() != psutil.STATUS_ZOMBIE and os.getpgid(process.pid) == worker.process.pid]


@pytest.mark.parametrize("culprits", [("autocast", "patches"), pytest.param(tuple(NOTES), marks=pytest.mark.slow)])
def test_after_a_run_that_changed_what_numbers_depend_on_the_next_one_is_that_of_a_fresh_worker(start, folder, culprits):
    innocent = spec("innocent", folder)
    alone = result_of(start(), innocent)
    assert (alone.status, alone.notes) == ("done", ())
    engine = start()
    for culprit in culprits:
        result, words = result_of(engine, spec(culprit, folder)), NOTES[culprit]
        assert [note[: len(words)] for note in result.notes] == [words], (culprit, result)
        assert result.status == ("error" if culprit in ERRORS else "done"), (culprit, result.error)
        assert ERRORS.get(culprit, "") in (result.error or "")
        assert values(result_of(engine, innocent)) == values(alone), culprit


def test_a_run_that_changed_nothing_keeps_its_worker(start, folder):
    engine = start()
    first, second = (result_of(engine, spec("innocent", folder, seed)) for seed in (0, 1))
    (worker,) = engine._workers
    assert (first.notes, second.notes, group(worker)) == ((), (), [worker.process.pid])


def test_a_forked_process_that_goes_on_as_the_worker_answers_for_no_run(start, folder):
    engine = start()
    first, second = (result_of(engine, spec("forks", folder, seed)) for seed in (0, 1))
    expected = result_of(engine, spec("innocent", folder, seed=1))
    assert (folder / "forked").exists()
    # what was forked off ends at its first answer, or is seen before that
    assert first.status == "done" or "hook 'loss': it left process" in first.error
    assert first.key == spec("forks", folder).key
    assert second.key == spec("forks", folder, 1).key
    assert values(second) == values(expected)
    (worker,) = engine._workers
    assert group(worker) == [worker.process.pid]


def test_a_process_that_a_run_left_ends_with_its_worker(start, folder):
    result = result_of(start(), spec("orphans", folder))
    (note,) = result.notes
    pid = (folder / "orphan").read_text()
    assert (result.status, note.split(" (")[0]) == ("error", f"left process {pid}")
    assert f"hook 'loss': it left process {pid} (sleep) running" in result.error
    assert gone(int((folder / "orphan").read_text()))


def gone(pid, seconds=10.0):
    """Whether a process ends within so many seconds."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return True
        time.sleep(0.05)
    return False


@pytest.mark.parametrize(
    ("method", "words"), [("foreign", "the result of another job, 0123456789abcdef"), ("garbles", "b'no answer' is no answer of a worker")]
)
def test_what_is_not_the_answer_to_its_job_is_dropped_and_the_worker_with_it(start, folder, method, words):
    engine = start()
    result = result_of(engine, spec(method, folder))
    assert (result.key, result.status) == (spec(method, folder).key, "error")
    assert words in result.error
    assert engine._workers == []


def test_an_answer_is_that_of_its_own_job(folder):
    job = spec("innocent", folder)
    (event,), last = answer_from({job.key: job}, b'{"result": {"key": "%s", "status": "done"}, "last": true}' % job.key.encode())
    assert (event.result.key, last) == (job.key, True)
    with pytest.raises(ValueError, match="the result of another job"):
        answer_from({job.key: job}, b'{"result": {"key": "0", "status": "done"}}')
    for line in (b"", b"[1]", b'{"result": 3}', b'{"result": {"key": 1}}', b"\xff", b'{"progress": "half"}'):
        with pytest.raises(ValueError, match="is no answer of a worker"):
            answer_from({job.key: job}, line)


def asleep(engine, folder, method="sleeps"):
    """The worker of an engine, within a run that has started another process and sleeps; and that process."""
    engine.submit(spec(method, folder))
    until = time.monotonic() + 60
    while not (folder / "orphan").exists() or not (folder / "orphan").read_text():
        assert time.monotonic() < until
        time.sleep(0.05)
    return engine._workers[0], int((folder / "orphan").read_text())


def test_a_worker_whose_parent_is_gone_ends_with_what_it_started(start, folder):
    worker, orphan = asleep(start(), folder)
    worker.process.stdin.close()
    assert gone(orphan)
    assert gone(worker.process.pid)


@pytest.mark.parametrize(
    "end", [lambda engine: engine.close(), lambda engine: engine._workers[0].process.stdin.close()], ids=["the command ends", "the command is gone"]
)
def test_a_process_with_a_session_of_its_own_ends_with_its_worker(start, folder, end):
    engine = start()
    worker, escaped = asleep(engine, folder, "escapes")
    end(engine)
    assert gone(escaped)
    assert gone(worker.process.pid)


def test_an_endless_loop_is_a_timeout_also_while_its_cost_is_measured(start, folder):
    run = spec("endless", folder)
    job = ProfileSpec(
        run.task, run.method, run.source, {}, (), "validated", run.data, "fp32", "cpu", "", 1, "", "", timed=True
    )  # so many steps that some are in the second half
    result = result_of(start(silence_limit=12.0), job)
    assert (result.status, "endless loop" in result.error) == ("timeout", True)


def test_memory_that_can_not_be_had_is_oom(start, folder):
    assert result_of(start(), spec("allocates", folder)).status == "oom"


def test_a_worker_that_was_killed_from_outside_is_killed_and_what_it_started_ends(start, folder):
    engine = start()
    worker, orphan = asleep(engine, folder)
    os.kill(worker.process.pid, signal.SIGKILL)
    results = [event.result for _ in range(4) for event in engine.wait(0.5) if event.result is not None]
    assert [result.status for result in results] == ["killed"]
    assert gone(orphan)
