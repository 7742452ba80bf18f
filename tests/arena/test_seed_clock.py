"""Final runs in a limited time: whole seeds, the same for every method."""

from kdarena.arena import scheduler
from kdarena.arena.scheduler import Job
from kdarena.arena.seed_clock import SeedClock
from kdarena.engines.engine import Event
from kdarena.plan.levels import FEWEST_SEEDS
from kdarena.plan.spec import Budget, RunResult, RunSpec


class OneWorker:
    """An engine whose runs take one second each, of a clock of its own."""

    capacity = 1

    def __init__(self):
        self.now, self.done = 0.0, []

    def submit(self, spec):
        self.done.append((spec.method, spec.seed))

    def wait(self, seconds):
        self.now += 1.0
        method, seed = self.done[-1]
        return [Event(spec(method, seed), RunResult(spec(method, seed).key, "done"))]


def spec(method, seed, purpose="final"):
    return RunSpec("task", method, "", purpose, seed, Budget(1.0, "s"), ())


def finals(method, seeds=5):
    yield [Job(spec(method, seed), "default") for seed in range(seeds)]


def run(end, methods="abc", recall=lambda spec: None, least=1):
    engine = OneWorker()
    clock = SeedClock(end, lambda: engine.now, least)
    scheduler.run(engine, [finals(method) for method in methods], asked=clock.asked, recall=recall, keep=lambda job, result: None, admits=clock.admits)
    return engine, clock


def test_where_there_is_time_every_seed_is_done():
    engine, clock = run(15.0)
    assert len(engine.done) == 15
    assert clock.left_out == []


def test_where_the_time_runs_out_every_method_has_the_same_seeds_and_none_is_cut_off():
    for end in (6.0, 7.0, 8.9):
        engine, clock = run(end)
        assert sorted(engine.done) == [(method, seed) for method in "abc" for seed in (0, 1)]
        assert engine.now <= end
        assert (clock.done, clock.left_out) == ([0, 1], [2, 3, 4])


def test_one_seed_is_done_however_short_the_time_is():
    engine, clock = run(0.5)
    assert engine.done == [("a", 0), ("b", 0), ("c", 0)]
    assert clock.report() == "the time ran out: every method has 1 seed, 4 less than planned; the same command does the others"


def test_as_many_seeds_as_a_ranked_board_has_at_least_are_done_however_short_the_time_is():
    engine, clock = run(0.5, least=FEWEST_SEEDS)
    assert sorted(engine.done) == [(method, seed) for method in "abc" for seed in range(3)]
    assert clock.left_out == [3, 4]


def test_the_same_command_does_the_seeds_that_were_left_out():
    engine, clock = run(9.0, recall=lambda spec: RunResult(spec.key, "done") if spec.seed < 2 else None)
    assert sorted(engine.done) == [(method, seed) for method in "abc" for seed in (2, 3, 4)]
    assert clock.left_out == []


def test_seeds_that_are_recorded_are_counted():
    engine, clock = run(4.0, recall=lambda spec: RunResult(spec.key, "done") if spec.seed < 2 else None)
    assert engine.done == [("a", 2), ("b", 2), ("c", 2)]
    assert clock.report() == "the time ran out: every method has 3 seeds, 2 less than planned; the same command does the others"


def test_what_a_seed_takes_is_foretold_by_the_runs_that_were_run():
    engine, clock = run(6.0, recall=lambda spec: RunResult(spec.key, "done") if spec.seed == 0 and spec.method != "a" else None)
    assert engine.done == [("a", 0), *((method, 1) for method in "abc")]
    assert (engine.now, clock.left_out) == (4.0, [2, 3, 4])


def test_teachers_and_trials_are_never_left_out():
    clock = SeedClock(0.0, lambda: 10.0, least=1)
    assert clock.admits(Job(spec("a", 0), "default"))
    assert not clock.admits(Job(spec("a", 1), "default"))
    assert not clock.admits(Job(spec("a", 1, "control"), "ladder:0.5"))
    assert all(clock.admits(Job(spec("a", 7, purpose), "")) for purpose in ("tune", "teacher"))
