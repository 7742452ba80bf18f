import random
from dataclasses import replace

from kdarena.arena import scheduler
from kdarena.arena.scheduler import Job
from kdarena.engines.engine import Event
from kdarena.plan.spec import Budget, RunResult, RunSpec


def spec(method, seed):
    return RunSpec("task", method, "", "final", seed, Budget(1.0, "flop"), ())


class FakeEngine:
    """Finishes what is under way in an order of its own."""

    def __init__(self, capacity, order):
        self.capacity, self.order = capacity, random.Random(order)
        self.under_way, self.most, self.submitted, self.groups = [], 0, [], []

    def submit(self, *specs):
        self.under_way += specs
        self.submitted += [one.key for one in specs]
        self.groups.append([(one.method, one.seed) for one in specs])
        self.most = max(self.most, len(self.under_way))

    def wait(self, seconds):
        one = self.under_way.pop(self.order.randrange(len(self.under_way)))
        return [Event(one, RunResult(one.key, "done", {"score": float(one.seed)}))]

    def close(self):
        pass


def work(method, log, rounds=3):
    for number in range(rounds):
        results = yield [Job(spec(method, 10 * number + seed), "default") for seed in range(3)]
        log.append((method, [result.metrics["score"] for result in results]))


def do(engine, recall=lambda one: None):
    logs = {name: [] for name in "abc"}
    kept = []
    works = [work(name, logs[name]) for name in "abc"]
    scheduler.run(engine, works, recall=recall, keep=lambda job, result: kept.append(job.spec.key))
    return logs, kept


def test_results_come_back_in_the_order_of_the_jobs_whoever_finishes_first():
    expected = {name: [(name, [10.0 * n, 10.0 * n + 1, 10.0 * n + 2]) for n in range(3)] for name in "abc"}
    for order in range(5):
        assert do(FakeEngine(3, order))[0] == expected


def test_as_many_jobs_are_under_way_as_the_engine_allows():
    for capacity in (4, 1):
        engine = FakeEngine(capacity, 0)
        do(engine)
        assert engine.most == capacity


def test_what_is_recorded_is_recalled_and_not_run_again():
    engine = FakeEngine(2, 0)
    logs, kept = do(engine, recall=lambda one: RunResult(one.key, "done", {"score": -1.0}) if one.seed < 10 else None)
    assert len(engine.submitted) == len(kept) == 18
    assert logs["a"][0] == ("a", [-1.0, -1.0, -1.0])


def test_final_runs_start_seed_by_seed_over_all_methods_after_what_they_wait_for():
    def tuned(method):
        yield [Job(replace(spec(method, 99), purpose="tune"), "trial")]
        yield [Job(spec(method, seed), "default") for seed in range(3)]

    engine, started = FakeEngine(1, 0), []
    keep = {"recall": lambda one: None, "keep": lambda job, result: None}
    scheduler.run(engine, [tuned("a"), tuned("b")], **keep, started=lambda job: started.append((job.spec.method, job.spec.seed)))
    assert started == [("a", 99), ("b", 99), ("a", 0), ("b", 0), ("a", 1), ("b", 1), ("a", 2), ("b", 2)]


def test_a_job_that_is_not_admitted_is_left_out_and_the_others_are_done():
    engine, log = FakeEngine(2, 0), []
    keep = {"recall": lambda one: None, "keep": lambda job, result: None}
    scheduler.run(engine, [work("a", log), work("b", log)], **keep, admits=lambda job: (job.spec.method, job.spec.seed) != ("a", 1))
    assert len(engine.submitted) == 2 + 9
    assert {method for method, _ in log} == {"b"}


def test_a_job_that_two_works_ask_for_is_run_once():
    def same(log):
        log.append((yield [Job(spec("shared", 0), "teacher")]))

    engine, log = FakeEngine(2, 0), []
    scheduler.run(engine, [same(log), same(log)], recall=lambda one: None, keep=lambda job, result: None)
    assert len(engine.submitted) == 1
    assert len(log) == 2


KEEP = {"recall": lambda one: None, "keep": lambda job, result: None}


def seeds(method, log, count=4):
    log.append([result.status for result in (yield [Job(spec(method, seed), "default") for seed in range(count)])])


def of_one_method(idle, first, waiting):
    return [job for job in waiting if job.spec.method == first.spec.method]


def test_what_is_chosen_to_be_beside_a_job_is_given_to_its_worker_and_the_next_one_waits_for_all_of_them():
    engine, log = FakeEngine(1, 0), []
    scheduler.run(engine, [seeds("a", log), seeds("b", log)], **KEEP, companions=of_one_method)
    assert engine.groups == [[("a", seed) for seed in range(4)], [("b", seed) for seed in range(4)]]
    assert log == [["done"] * 4] * 2


def test_with_two_workers_two_groups_are_under_way():
    engine, log = FakeEngine(2, 0), []
    scheduler.run(engine, [seeds("a", log), seeds("b", log)], **KEEP, companions=of_one_method)
    assert engine.most == 8


def test_a_run_that_is_not_admitted_is_in_no_group():
    engine = FakeEngine(1, 0)
    scheduler.run(engine, [seeds("a", [])], **KEEP, companions=of_one_method, admits=lambda job: job.spec.seed != 2)
    assert engine.groups == [[("a", 0), ("a", 1), ("a", 3)]]


def test_runs_that_have_to_be_run_again_are_so_once_each_alone():
    class Breaks(FakeEngine):
        def wait(self, seconds):
            one = self.under_way[0]
            if len(self.groups) == 1 and one.seed > 0:
                self.under_way.clear()
                return [Event(spec("a", seed), again="it was killed") for seed in range(1, 4)]
            return super().wait(seconds)

    engine, log, said = Breaks(1, 0), [], []
    engine.order.randrange = lambda count: 0
    scheduler.run(engine, [seeds("a", log)], **KEEP, companions=of_one_method, again=lambda job, why: said.append((job.spec.seed, why)))
    assert engine.groups == [[("a", 0), ("a", 1), ("a", 2), ("a", 3)], [("a", 1)], [("a", 2)], [("a", 3)]]
    assert said == [(seed, "it was killed") for seed in range(1, 4)]
    assert log == [["done"] * 4]
