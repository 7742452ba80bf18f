"""What a method's code does within a charged step that it may not: change the student's weights itself, and ask networks that the run doesn't know."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

from torch import nn
from torch.nn.modules.module import register_module_forward_pre_hook

from kdarena.errors import MethodError
from kdarena.execute.weights import same
from kdarena.method.run import Run

_Result = TypeVar("_Result")


class StudentWeights:
    """The deployed student's parameters during a phase, which the optimisers of its updates alone may change.

    Args:
        method: its name, for messages.
    """

    def __init__(self, method: str, student: nn.Module):
        self._method = method
        self._parameters = list(student.parameters())

    def kept(self, hook: str, call: Callable[[], _Result], *, by_value: bool) -> _Result:
        """What a call gives that leaves the parameters alone.

        Args:
            hook: that is called.
            by_value: also compare the values, which finds what is written behind torch's back (``.data``).

        Raises:
            MethodError: names the hook.
        """
        versions = [parameter._version for parameter in self._parameters]
        before = [parameter.detach().clone() for parameter in self._parameters] if by_value else []
        result = call()
        changed = [parameter._version for parameter in self._parameters] != versions
        if changed or not all(same(parameter.detach(), value) for parameter, value in zip(self._parameters, before, strict=False)):
            raise MethodError(self._method, hook, "it changed the student's parameters; only an optimiser of Phase.updates may")
        return result


@contextmanager
def strangers(run: Run, trained: frozenset[int]) -> Iterator[list[nn.Module]]:
    """Collect the networks that are called and that the run doesn't know: neither its student, a helper, a teacher nor trained by an update.

    Args:
        trained: ids of the parameters that updates train.
    """
    networks: Sequence[nn.Module] = (*run.learner.modules(), *run.learner.deploy.values(), *run.teacher_modules(), *run.frozen)
    known = {id(module) for network in networks for module in network.modules()}
    called: list[nn.Module] = []

    def look(module: nn.Module, inputs: object) -> None:
        if id(module) in known:
            return
        own = list(module.parameters(recurse=False))
        if own and not any(id(parameter) in trained for parameter in own):
            known.add(id(module))
            called.append(module)

    handle = register_module_forward_pre_hook(look)
    try:
        yield called
    finally:
        handle.remove()
