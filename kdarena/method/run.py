"""A run as a method sees it: its networks, its seeds, its teachers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.dropout import _DropoutNd
from torch.optim import Optimizer

from kdarena.errors import NotApplicable
from kdarena.method.declaration import NO_TEACHER, Method, TeacherSpec
from kdarena.method.learner import Learner
from kdarena.params import Params
from kdarena.seeds import derive
from kdarena.tracks.known_logits import KnownLogits
from kdarena.tracks.task import Task
from kdarena.tracks.values import Batch, Outputs, Protocol, Split

Answer = Callable[[Batch, Callable[[], Outputs]], Outputs]
"""Gives a network's outputs on a batch, which the second argument computes where they have to be."""


def _known(teacher: KnownLogits) -> Answer:
    return lambda batch, compute: teacher.answer(batch)


class TeacherChanged(Exception):
    """A frozen teacher is in train mode, wants gradients, or has other weights than it was given."""


class Run:
    """What the hooks get of the run they work in.

    Attributes:
        task: data, networks, loss and evaluation.
        method, params: what is run, and with which parameters.
        recipe: the common hyper-parameters in force: ``lr`` and ``weight_decay``.
        split: seed and protocol of the run: which samples it trains on, and in what order.
        teachers: the modules that ``Method.teachers`` declared, in that order, frozen.
        teacher: what ``build_teacher`` returned; a module, a sequence of them or ``NO_TEACHER``.
        learner: what ``build_student`` returned; a phase may replace it (a new generation).
        generator: a method's own random draws, on the task's device.
        answers: what gives the outputs of a teacher in the place of a call, by the id of the module (the harness fills it).
    """

    def __init__(
        self,
        task: Task,
        method: Method,
        params: Params,
        *,
        seed: int,
        recipe: Mapping[str, float] | None = None,
        protocol: Protocol = "validated",
        teachers: Sequence[nn.Module] = (),
        trains: TeacherSpec | None = None,
        start: nn.Module | None = None,
    ):
        self.task = task
        self.method = method
        self.params = params
        self.split = Split(seed, protocol)
        self.recipe = {"lr": task.card.recipe.lr, "weight_decay": task.card.recipe.weight_decay, **(recipe or {})}
        self.trains = trains
        self._start = start
        self.learner: Learner
        self.teacher: Any = NO_TEACHER
        self.generator = torch.Generator(task.device).manual_seed(derive(seed, "method"))
        self._frozen: dict[int, tuple[nn.Module, dict[str, Tensor]]] = {}
        self.teachers = tuple(self.freeze(teacher) for teacher in teachers)
        self.answers: dict[int, Answer] = {id(teacher): _known(teacher) for teacher in self.teachers if isinstance(teacher, KnownLogits)}

    @property
    def seed(self) -> int:
        """The seed of its split."""
        return self.split.seed

    @property
    def protocol(self) -> Protocol:
        """The protocol of its split: ``validated`` or ``published``."""
        return self.split.protocol

    @property
    def store(self) -> Any:
        """Refused: it is the old form of a method's state."""
        raise AttributeError("run.store no longer exists; keep state as an attribute of the method (self.vocabulary = …) and register its class")

    @property
    def steps_per_epoch(self) -> int:
        """Augmented batches that see each training sample once, the last incomplete one dropped."""
        return max(1, self.train_size // self.task.card.recipe.batch_size)

    @property
    def steps_per_pass(self) -> int:
        """Plain batches that see each training sample once, the last incomplete one included."""
        return -(-self.train_size // self.task.card.recipe.batch_size)

    @property
    def train_size(self) -> int:
        """Number of training samples of this run."""
        return self.task.size("train", self.split)

    @property
    def targets(self) -> Tensor:
        """Labels of the whole training part [N] on the device, in the order of ``step.index``."""
        if not self.method.labels:
            raise ValueError("the method declares labels=False but reads run.targets")
        return self.task.targets(self.split)

    def batches(self, data: Literal["augmented", "plain"]) -> Iterator[Batch]:
        """The task's training batches (:meth:`kdarena.Task.batches`); a teacher is trained on what teachers see."""
        batches = self.task.batches(self.split, data)
        if self.trains is None or not self.task.card.parallel:
            return batches
        return (batch.seen_by_teacher() for batch in batches)

    def new_student(self, *, generation: int = 0, peer: int = 0, architecture: str = "student") -> nn.Module:
        """A freshly initialised network of the task, seeded by run seed, generation and peer alone.

        Whatever was built or drawn before changes nothing, so that all methods start from the same student. On tasks whose
        students start from the teacher it has the reference teacher's weights. In a teacher's own training ``"student"``
        means the teacher that is trained.

        Args:
            generation: 0 for the first student of a run, 1, 2 … for those that follow it.
            peer: 0 for the student itself, 1, 2 … for those that learn along with it.
            architecture: ``"student"``, ``"teacher"``, or a name of the track.
        """
        dropout = 0.0
        card = self.task.card
        if not card.teacher_trainable and card.architecture(architecture) == card.teacher:
            raise NotApplicable(f"it trains a network like the teacher, and {card.teacher} can't be trained: only its outputs are known")
        if architecture == "student" and self.trains is not None:
            architecture, dropout = self.trains.architecture, self.trains.dropout
        named = self.task.card.architecture(architecture)
        with self._seeded("student", generation, peer):
            network = self.task.new_network(named, dropout=dropout)
        if self._start is not None and architecture == "student":
            network.load_state_dict(self._start.state_dict())
        return network

    @contextmanager
    def _seeded(self, *purpose: object) -> Iterator[None]:
        devices = [self.task.device] if self.task.device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed(derive(self.seed, *purpose))
            yield

    def freeze(self, module: nn.Module) -> nn.Module:
        """Put a module into eval mode, take its gradients away and watch it: from now on it is a teacher, and may not change."""
        module.eval().requires_grad_(False).zero_grad(set_to_none=True)
        self._frozen[id(module)] = (module, {name: tensor.clone() for name, tensor in module.state_dict().items()})
        return module

    def is_frozen(self, module: nn.Module) -> bool:
        """Whether the module is a teacher of this run."""
        return id(module) in self._frozen

    @property
    def frozen(self) -> tuple[nn.Module, ...]:
        """The modules that are watched: the teachers of the pool, then what the method froze."""
        return tuple(module for module, _ in self._frozen.values())

    def train_mode(self) -> None:
        """Put all that learns into train mode; teachers keep their modes, those that a helper holds among them."""
        modes = [(child, child.training) for module, _ in self._frozen.values() for child in module.modules()]
        for module in self.learner.modules():
            module.train()
        for child, mode in modes:
            child.training = mode

    def of_teachers(self, network: nn.Module) -> bool:
        """Whether a network is made of this run's teachers alone, as an ensemble of them is."""
        weights = {id(parameter) for module, _ in self._frozen.values() for parameter in module.parameters()}
        return all(id(parameter) in weights for parameter in network.parameters())

    def set_teacher(self, teacher: nn.Module | Sequence[nn.Module]) -> None:
        """Make a frozen module, or several, the teacher from now on (a new generation)."""
        modules = [teacher] if isinstance(teacher, nn.Module) else list(teacher)
        for module in modules:
            if not self.is_frozen(module):
                self.freeze(module)
        self.teacher = teacher

    def teacher_modules(self) -> tuple[nn.Module, ...]:
        """The teacher as a tuple of modules, empty for ``NO_TEACHER``."""
        if self.teacher is NO_TEACHER:
            return ()
        return (self.teacher,) if isinstance(self.teacher, nn.Module) else tuple(self.teacher)

    def check_teachers(self, *, weights: bool = True) -> None:
        """Assert that teachers are as they were given: in eval mode, except dropout where the method declares it (``Method.active_dropout``).

        Args:
            weights: also compare every parameter and buffer, bit by bit.

        Raises:
            TeacherChanged: says what changed.
        """
        for module in (*self.teachers, *self.teacher_modules()):
            self.check_mode(module)
            for name, parameter in module.named_parameters():
                if parameter.requires_grad:
                    raise TeacherChanged(f"parameter {name!r} of a teacher wants a gradient; freeze it with run.freeze(module)")
        if weights:
            for module, before in self._frozen.values():
                for name, tensor in module.state_dict().items():
                    if not torch.equal(tensor, before[name]):
                        raise TeacherChanged(f"{name!r} of a teacher changed; a teacher has to be bit-identical before and after a run")

    def check_mode(self, teacher: nn.Module) -> None:
        """Assert that a teacher is in eval mode, as :meth:`check_teachers` does."""
        for child in teacher.modules():
            if child.training and not (self.method.active_dropout and isinstance(child, _DropoutNd)):
                name = next(name for name, module in teacher.named_modules() if module is child)
                raise TeacherChanged(f"module {name or type(child).__name__!r} of a teacher is in train mode; keep it in eval mode")

    def optimizer(self, parameters: Iterable[nn.Parameter], *, lr: float | None = None, weight_decay: float | None = None) -> Optimizer:
        """The recipe's optimiser, with the run's learning rate and weight decay unless given otherwise."""
        return self.task.optimizer(
            parameters,
            lr=self.recipe["lr"] if lr is None else lr,
            weight_decay=self.recipe["weight_decay"] if weight_decay is None else weight_decay,
        )
