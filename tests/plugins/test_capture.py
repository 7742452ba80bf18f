"""No step of any method reads a value back to the host or has a shape that depends on data, so that it can be captured and replayed."""

import dataclasses
import functools
from contextlib import contextmanager, nullcontext

import pytest
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from kdarena import NotApplicable
from kdarena.execute.train import begin_phase
from kdarena.method.discovery import discover
from kdarena.params import make_params
from kdarena.testing.run import make_run
from kdarena.tracks import cards, find_card
from kdarena.tracks.values import Setting

STEPS = 6
FREE = 3
"""First steps of a phase, which may check and build caches."""
BATCH = 8

READ_BACK = {
    "_local_scalar_dense",
    "_unique",
    "_unique2",
    "bincount",
    "equal",
    "is_nonzero",
    "masked_select",
    "nonzero",
    "unique_consecutive",
    "unique_dim",
    "unique_dim_consecutive",
}
"""Operations that wait for the device, or whose result has a size that is known only behind them."""
INDEXING = {"index", "index_put", "index_put_", "_index_put_impl_"}
TO_THE_HOST = {torch.Tensor.tolist, torch.Tensor.numpy, torch.Tensor.cpu}

UNAVOIDABLE = {
    ("ts", "decode"): "a search goes on until every sequence has ended",
    ("ts-seq", "decode"): "a search goes on until every sequence has ended",
}
"""Phases whose work has shapes that depend on data, by method and phase, with the reason."""


class NotCapturable(AssertionError):
    """A step did what a captured step can't do."""


class _Operations(TorchDispatchMode):
    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func._schema.name.removeprefix("aten::")
        if name in READ_BACK:
            raise NotCapturable(f"{name} reads a value back to the host")
        if name == "repeat_interleave" and func._overloadname == "Tensor" and not (kwargs or {}).get("output_size"):
            raise NotCapturable("repeat_interleave by a tensor without output_size has a shape that depends on data")
        if name in INDEXING and any(index is not None and index.dtype in (torch.bool, torch.uint8) for index in args[1]):
            raise NotCapturable(f"{name} by a mask has a shape that depends on data")
        return func(*args, **(kwargs or {}))


class _Methods(TorchFunctionMode):
    """Of tensors on the CPU these are no operations that are dispatched."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func in TO_THE_HOST:
            raise NotCapturable(f"Tensor.{func.__name__} copies to the host")
        return func(*args, **(kwargs or {}))


@contextmanager
def refusing():
    """Raises :class:`NotCapturable` where a value is read back or a shape depends on data."""
    with _Methods(), _Operations():
        yield


WITH_EXITS = dataclasses.replace(find_card("digits"), name="digits-with-exits", student="small-msdnet", exits=2, branches=False)
"""The digits with a student that has earlier exits, which no embedded task has by default."""
CARDS = {card.name: card for card in (*(card for card in cards() if card.embedded), WITH_EXITS)}
PLUGINS = {plugin.name: plugin for plugin in discover()}


def _pairs():
    """Every method with every task on which it runs; a broken plugin once, which fails."""
    for name, plugin in PLUGINS.items():
        if plugin.method is None:
            yield name, next(iter(CARDS))
            continue
        params = make_params(plugin.method.Params, {})
        yield from ((name, task) for task, card in CARDS.items() if plugin.method.reason_against(card, params) is None)


PAIRS = list(_pairs())


@pytest.fixture(scope="module")
def load(small_msdnet):
    """Loads each task once, with small batches."""

    @functools.cache
    def loaded(name):
        card = CARDS[name]
        card = dataclasses.replace(card, recipe=dataclasses.replace(card.recipe, batch_size=BATCH))
        return card.load(card, Setting())

    return loaded


def take(run, phase, *, excused=UNAVOIDABLE):
    """The first steps of a phase."""
    stepper, batches = begin_phase(run.hooks, run, phase, run.bound, run.augmented)
    steps = STEPS if phase.steps is None else min(STEPS, phase.steps)
    for number in range(steps):
        batch = next(batches)
        with nullcontext() if number < FREE or (run.method.name, phase.name) in excused else refusing():
            stepper.take(batch, number / steps, number / steps)
    run.bound = {bound.name: bound for bound in stepper.bound}


@pytest.mark.parametrize(("name", "task"), PAIRS)
def test_a_step_reads_nothing_back_and_has_no_shape_that_depends_on_data(name, task, load):
    plugin = PLUGINS[name]
    assert plugin.error is None, plugin.error
    try:
        run = make_run(plugin.implementation, load(task))
    except NotApplicable as error:
        pytest.skip(f"{name} does not apply to {task}: {error}")
    for phase in run.phases:
        take(run, phase)


@pytest.mark.parametrize(("name", "phase"), UNAVOIDABLE)
def test_a_phase_that_is_excused_has_to_be(name, phase, load):
    run = make_run(PLUGINS[name].implementation, load(next(task for method, task in PAIRS if method == name)))
    for before in run.phases[: [known.name for known in run.phases].index(phase)]:
        take(run, before)
    with pytest.raises(NotCapturable):
        take(run, next(known for known in run.phases if known.name == phase), excused=())


@pytest.mark.parametrize(
    "operation",
    [
        lambda x: x.sum().item(),
        lambda x: bool(x.any()),
        lambda x: torch.equal(x, x),
        lambda x: x.tolist(),
        lambda x: x.numpy(),
        lambda x: x[x > 2],
        lambda x: x.masked_fill(x > 2, 0).index_put_((x > 2,), x.new_zeros(())),
        lambda x: x.masked_select(x > 2),
        lambda x: x.nonzero(),
        lambda x: x.unique(),
        lambda x: x.repeat_interleave(x),
        lambda x: torch.nn.functional.one_hot(x),
    ],
    ids=["item", "if", "equal", "tolist", "numpy", "mask", "put-by-mask", "masked_select", "nonzero", "unique", "repeat_interleave", "one_hot"],
)
def test_what_a_captured_step_can_not_do_is_refused(operation):
    with refusing(), pytest.raises(NotCapturable):
        operation(torch.arange(4))


def test_what_it_can_do_is_not():
    x = torch.arange(4)
    with refusing():
        y = x[torch.tensor([2, 1])].where(x[:2] > 0, 0)
        assert y.shape == (2,)
