"""What is recorded of a job."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from kdarena.arena.recorder import Recorder
from kdarena.arena.scheduler import Job
from kdarena.board.selection import Asked
from kdarena.engines.engine import Event
from kdarena.files import digest_of
from kdarena.plan.spec import RunResult
from kdarena.record.samples import reader
from kdarena.tracks.samples import packed, shares


class OneJobEngine:
    """Answers each job with the status that it was made with."""

    capacity = 1

    def __init__(self, status):
        self.status, self.submitted = status, []

    def submit(self, spec):
        self.submitted.append(spec)

    def wait(self, seconds):
        spec = self.submitted[-1]
        return [Event(spec, RunResult(spec.key, self.status, system={"build_s": 1.0}, error=None if self.status == "done" else "why"))]


class LeavesWeights(OneJobEngine):
    """Writes a file for each run, as a worker writes the network that it trained."""

    def __init__(self, folder):
        super().__init__("done")
        self.folder = folder

    def wait(self, seconds):
        spec = self.submitted[-1]
        path = self.folder / f"{spec.key}.safetensors"
        path.write_text(f"weights of {spec.key}")
        return [Event(spec, RunResult(spec.key, "done", checkpoint=path.name, weights=digest_of(path)))]


@pytest.fixture
def recorder(tmp_path):
    """Makes a recorder over an engine whose runs all end with one status; what it records is in ``logged``."""

    def make(status="done", engine=None):
        logged = []
        record = SimpleNamespace(
            checkpoints=tmp_path, runs=list, log=lambda spec, result, *, setting, facts: logged.append((spec, result, setting, dict(facts)))
        )
        display = SimpleNamespace(started=lambda job: None, progress=lambda spec, fraction: None, finished=lambda job, result: None, say=lambda text: None)
        made = Recorder(record, SimpleNamespace(), OneJobEngine(status) if engine is None else engine, display, tmp_path)
        made.logged = logged
        return made

    return make


def do(recorder, *jobs):
    def work():
        yield list(jobs)

    recorder.schedule([work()])


def test_what_a_job_says_is_what_is_recorded(recorder, synthetic):
    one = recorder()
    do(one, Job(synthetic.spec(), "tuned", {"track": "t", "metric": "m", "budget": "60.0"}, latency_ms=0.25))
    ((spec, result, setting, facts),) = one.logged
    assert (setting, facts) == ("tuned", {"track": "t", "metric": "m", "budget": "60.0"})
    assert result.system == {"build_s": 1.0, "latency_ms": 0.25}
    assert one.recorded[spec.key] == result


def test_a_job_without_a_latency_has_none_in_the_record(recorder, synthetic):
    one = recorder()
    do(one, Job(synthetic.spec(purpose="tune"), "trial", {}))
    assert "latency_ms" not in one.logged[0][1].system


def test_a_failed_run_has_no_latency_and_is_named_and_tried_once(recorder, synthetic):
    one, job = recorder("error"), Job(synthetic.spec(), "default", {}, latency_ms=0.25)
    do(one, job)
    do(one, job)
    assert "latency_ms" not in one.logged[0][1].system
    assert (len(one.logged), one.trained) == (1, 1)
    assert list(one.failures.values()) == ["digits kd seed 0 (final): error: why"]


def test_that_a_method_is_skipped_is_recorded_once(recorder, synthetic):
    one = recorder()
    for _ in range(2):
        one.log_without_run(synthetic.spec(), "skipped", "no maps", {"track": "t"})
    assert [(result.status, result.error, facts) for _, result, _, facts in one.logged] == [("skipped", "no maps", {"track": "t"})]


@pytest.mark.parametrize("purpose", ["final", "teacher"])
@pytest.mark.parametrize("harm", [Path.unlink, lambda path: path.write_text("other weights"), lambda path: path.write_text("")])
def test_weights_that_are_gone_or_were_changed_are_trained_again(recorder, synthetic, tmp_path, purpose, harm):
    one = recorder(engine=LeavesWeights(tmp_path))
    job = Job(synthetic.spec(purpose=purpose), purpose)
    do(one, job)
    do(one, job)
    assert one.trained == 1
    (left,) = tmp_path.glob("*.safetensors")
    harm(left)
    do(one, job)
    assert (one.trained, left.read_text()) == (2, f"weights of {job.spec.key}")


def test_a_teacher_lies_under_the_digest_of_its_weights(recorder, synthetic, tmp_path):
    do(recorder(engine=LeavesWeights(tmp_path)), Job(synthetic.spec(purpose="teacher"), "teacher"))
    (left,) = tmp_path.glob("*.safetensors")
    assert left.stem == digest_of(left)


def test_what_a_command_asked_for_is_known_recalled_runs_and_skipped_methods_among_it(recorder, synthetic):
    one = recorder()
    run, skipped = synthetic.spec(), synthetic.spec("crd")
    do(one, Job(run, "default"))
    one.asked.clear()
    do(one, Job(run, "tuned"))
    one.log_without_run(skipped, "skipped", "no maps", {})
    assert one.asked == {run.key: Asked("tuned"), skipped.key: Asked("default")}


def test_what_each_test_sample_got_is_a_file_next_to_the_student_and_not_in_the_run(recorder, synthetic, tmp_path):
    class Scored(OneJobEngine):
        def wait(self, seconds):
            spec = self.submitted[-1]
            return [Event(spec, RunResult(spec.key, "done", test_samples=packed(shares([1, 0], [1, 1]))))]

    made = recorder(engine=Scored("done"))
    run = synthetic.run()
    do(made, Job(run.spec, "default"))
    ((_, result, *_),) = made.logged
    assert result.test_samples is None
    assert reader(tmp_path)(run).counts.tolist() == [[1, 1], [0, 1]]


def test_an_observer_hears_of_a_run_after_it_is_recorded(recorder, synthetic):
    one = recorder()
    heard = []
    observers = SimpleNamespace(
        started=lambda spec: heard.append(("started", spec.key, len(one.logged))),
        finished=lambda spec, result: heard.append((result.status, spec.key, len(one.logged))),
    )
    one._observers = observers
    spec = synthetic.spec()
    do(one, Job(spec, "default", {}))
    do(one, Job(spec, "default", {}))
    assert heard == [("started", spec.key, 0), ("done", spec.key, 1)]
