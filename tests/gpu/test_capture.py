"""Steps captured as CUDA graphs: of which methods, and that a captured run is the eager one."""

import pytest
import torch

from kdarena import NotApplicable
from kdarena.execute.capture import CudaCapture
from kdarena.execute.captured_steps import key_of
from kdarena.execute.train import begin_phase
from kdarena.params import make_params
from kdarena.testing.run import make_run
from kdarena.testing.task import ToyTask, toy_task
from kdarena.tracks import cards
from kdarena.tracks.values import Setting

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device is visible here")]

EAGER = {("quest", "kmeans"), ("ts", "decode"), ("ts-seq", "decode")}
"""Phases that can't be captured, by method and phase."""
STEPS = 8
TASKS = [card.name for card in cards() if card.embedded]


def toy(precision="fp32"):
    return ToyTask(toy_task().card, Setting(torch.device("cuda"), precision))


def take(run, steps, capture):
    """Steps of each phase of a run; gives the terms of all steps and the student's weights."""
    torch.manual_seed(1)  # from which dropout draws, in either run the same
    run.hooks.capture = CudaCapture(run.task.device) if capture else None
    terms = {}
    for phase in run.phases:
        stepper, batches = begin_phase(run.hooks, run, phase, run.bound, run.augmented)
        count = steps if phase.steps is None else phase.steps
        for number in range(count):
            stepper.take(next(batches), number / count, number / count)
        run.bound = {bound.name: bound for bound in stepper.bound}
        terms |= {(phase.name, *name): [value for _, value in pairs] for name, pairs in stepper.read_terms().items()}
    return terms, run.learner.student.state_dict()


def assert_alike(eager, captured, tolerance=1e-5):
    (terms, weights), (other_terms, other_weights) = eager, captured
    assert terms.keys() == other_terms.keys()
    for name, values in terms.items():
        torch.testing.assert_close(
            torch.tensor(other_terms[name]), torch.tensor(values), rtol=tolerance, atol=tolerance, msg=lambda text, name=name: f"{name}: {text}"
        )
    for name, tensor in weights.items():
        torch.testing.assert_close(other_weights[name], tensor, rtol=tolerance, atol=tolerance, msg=lambda text, name=name: f"{name}: {text}")


@pytest.mark.parametrize("name", ["student", "kd", "dkd", "crd", "ksanc", "rkd", "fickle", "soft-randomization", "messy-student", "dml", "ban"])
def test_captured_steps_leave_what_eager_ones_leave(name, methods, same_kernels):
    runs = [make_run(methods[name], toy()) for _ in range(2)]
    eager, captured = (take(run, 50, capture) for run, capture in zip(runs, (False, True), strict=True))
    assert runs[1].hooks.eager == {}
    assert_alike(eager, captured)


def test_so_do_those_in_bf16_as_far_as_its_digits_go(methods, same_kernels):
    runs = [make_run(methods["kd"], toy("bf16")) for _ in range(2)]
    eager, captured = (take(run, 50, capture) for run, capture in zip(runs, (False, True), strict=True))
    assert runs[1].hooks.eager == {}
    assert_alike(eager, captured)


def test_dropout_of_a_captured_step_draws_as_that_of_an_eager_one(methods, same_kernels):
    """The mask is drawn from torch's own generator, which a graph has to leave where the eager step leaves it."""
    runs = [make_run(methods["fickle"], toy()) for _ in range(2)]
    after = []
    for run, capture in zip(runs, (False, True), strict=True):
        take(run, 12, capture)
        after.append((torch.rand(4, device="cuda"), torch.rand(4, device="cuda", generator=run.generator)))
    assert all(map(torch.equal, *after))


def test_a_capture_that_fails_leaves_everything_as_it_was(methods, same_kernels):
    class Fails(CudaCapture):
        """Asks the host for a value within the capture, behind what is recorded before."""

        def take(self, step, generators):
            def reads():
                step()
                torch.ones((), device="cuda").item()

            return super().take(reads, generators)

    runs = [make_run(methods["fickle"], toy()) for _ in range(2)]
    eager = take(runs[0], 20, capture=False)
    torch.manual_seed(1)
    runs[1].hooks.capture = Fails(runs[1].task.device)
    stepper, batches = begin_phase(runs[1].hooks, runs[1], runs[1].phases[0], {}, runs[1].augmented)
    for number in range(20):
        stepper.take(next(batches), number / 20, number / 20)
    terms = {(runs[1].phases[0].name, *name): [value for _, value in pairs] for name, pairs in stepper.read_terms().items()}
    assert runs[1].hooks.eager["train"].startswith("its capture failed")
    assert_alike(eager, (terms, runs[1].learner.student.state_dict()))


@pytest.fixture(scope="module")
def load():
    loaded = {}

    def of(name):
        if name not in loaded:
            loaded.clear()
            card = next(card for card in cards() if card.name == name)
            try:
                loaded[name] = card.load(card, Setting(torch.device("cuda")))
            except ImportError as error:
                pytest.skip(f"task {name} needs {error.name}")
        return loaded[name]

    return of


@pytest.mark.parametrize("task", TASKS)
def test_every_method_is_captured_or_says_why_not(task, methods, load, capsys):
    loaded, eager = load(task), {}
    for name, one in methods.items():
        params = make_params(one.method.Params, {})
        if one.method.reason_against(loaded.card, params) is not None:
            continue
        try:
            run = make_run(one, loaded)
        except NotApplicable:
            continue
        run.hooks.capture = CudaCapture(loaded.device)
        for phase in run.phases:
            stepper, batches = begin_phase(run.hooks, run, phase, run.bound, run.augmented)
            batch = next(batches)
            shape = key_of(batch)
            count = STEPS if phase.steps is None else min(STEPS, phase.steps)
            for number in range(count):
                stepper.take(batch, number / count, number / count)
                batch = next(other for other in batches if key_of(other) == shape)
            run.bound = {bound.name: bound for bound in stepper.bound}
            stepper.read_terms()
        torch.cuda.synchronize()
        eager |= {(name, phase): reason for phase, reason in run.hooks.eager.items()}
    with capsys.disabled():
        print(f"\n{task}: {eager or 'all captured'}")
    assert not eager.keys() - EAGER
