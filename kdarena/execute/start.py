"""From which weights the student starts, and from whom it learns: as they are seen, not as they are declared."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor, nn

from kdarena.errors import MethodError
from kdarena.execute.weights import KnownTensors, State, copied, first_difference
from kdarena.method.run import Run

POOL, OWN, EXTRA, INHERITED = "pool teacher", "own teacher", "auxiliary data", "teacher's weights"
"""What :attr:`kdarena.plan.spec.RunResult.taken` names."""


class FirstWeights:
    """The deployed student's weights before the first charged step of each phase.

    They are those of ``run.new_student(generation=…)``, bit for bit, or what the phase before left. A student that inherits may have
    tensors of the run's teachers in their place.

    Args:
        run: whose student is looked at.
        fresh_student: makes the student of a generation, where no hook can change it.
    """

    def __init__(self, run: Run, fresh_student: Callable[[int], nn.Module]):
        self.inherited = False
        self.phases = 1
        self._run, self._fresh_student = run, fresh_student
        self._fresh: dict[int, State] = {}
        self._left: State | None = None
        self._teachers = KnownTensors()
        for teacher in run.teachers:
            self._teachers.add(copied(teacher))
        self._wrong: tuple[str, str] | None = None

    @property
    def first(self) -> State:
        """The student of generation 0."""
        return self._of(0)

    def look(self, hook: str) -> None:
        """Remember the hook after which the student has other weights."""
        name = self._difference(self._run.learner.student)
        self._wrong = None if name is None else self._wrong or (hook, name)

    def check(self, phase: str) -> None:
        """Raise :class:`MethodError` where the next step would begin with other weights; names the hook and the first tensor."""
        if self._wrong is None:
            return
        hook, name = self._wrong
        allowed = "those of run.new_student(generation=k)" + (" or of its teachers" if self._run.method.inherits else "")
        problem = f"tensor {name!r} of the student, before the next step of phase {phase!r}, is neither {allowed} nor what charged steps left"
        advice = "" if self._run.method.inherits else "; a student that starts from its teacher's declares inherits=True"
        raise MethodError(self._run.method.name, hook, f"{problem}: set and train it in charged steps alone{advice}")

    def leave(self) -> None:
        """A phase has ended: the next one may go on from its weights."""
        self._left, self._wrong = copied(self._run.learner.student), None

    def _difference(self, student: nn.Module) -> str | None:
        state = student.state_dict()
        if self._left is not None and first_difference(state, self._left) is None:
            return None
        if any(first_difference(state, self._of(generation)) is None for generation in range(self.phases + 1)):
            return None
        if not self._run.method.inherits:
            return first_difference(state, self._left or self.first)
        for name, tensor in state.items():
            if first_difference({name: tensor}, self.first) is not None:
                if not self._teachers.holds(tensor):
                    return name
                self.inherited = True
        return None

    def _of(self, generation: int) -> State:
        if generation not in self._fresh:
            self._fresh[generation] = copied(self._fresh_student(generation))
        return self._fresh[generation]


class Seen:
    """What is seen of a run while it trains: :class:`FirstWeights` and :class:`Supervision`, each at its time."""

    def __init__(self, run: Run, fresh_student: Callable[[int], nn.Module]):
        self._weights, self._supervision = FirstWeights(run, fresh_student), Supervision(run)

    def scheduled(self, phases: int) -> None:
        """The run has so many phases, and its teachers."""
        self._weights.phases = phases
        self._supervision.know(self._weights.first)
        self._supervision.look()

    def after(self, hook: str) -> None:
        """A hook between charged steps has returned."""
        self._weights.look(hook)

    def begins(self, phase: str) -> None:
        """A charged step of a phase is next; raises :class:`MethodError` where the student has other weights than it may."""
        self._weights.check(phase)
        self._supervision.look()

    def asked(self, strangers: Sequence[nn.Module]) -> None:
        """Charged steps asked networks that the run doesn't know."""
        self._supervision.asked(strangers)

    def pauses(self) -> None:
        """A block of steps is taken, and a hook is asked for something before the next one."""
        self._weights.leave()

    def ended(self) -> None:
        """A phase has taken its steps, and another one follows."""
        self._weights.leave()
        self._supervision.leave()

    def taken(self) -> set[str]:
        """From whom the run has learned."""
        self._supervision.look()
        return self._supervision.taken | ({INHERITED} if self._weights.inherited else set())


class Supervision:
    """From whom a run learns: modules that it made its teachers, froze or asked, by the values of their weights.

    A teacher that is the student of this run as a charged phase left it, or as it starts, is no further supervision; neither is a helper that was
    trained in a charged phase and then frozen, unless it becomes the teacher. A frozen module without parameters is a table, not a teacher.
    """

    def __init__(self, run: Run):
        self._run = run
        self._pool, self._students, self._own = KnownTensors(), KnownTensors(), KnownTensors()
        for teacher in run.teachers:
            self._pool.add(copied(teacher))
        self._pool_teachers = frozenset(map(id, run.teachers))
        self._looked_at: dict[int, nn.Module] = {}  # kept, so that no id is used twice
        self.taken: set[str] = set()

    def know(self, state: State) -> None:
        """Weights of a student of this run."""
        self._students.add(state)
        self._own.add(state)

    def leave(self) -> None:
        """A phase has ended: its student may teach, and its helpers may be frozen."""
        self._students.add(copied(self._run.learner.student))
        for network in self._run.learner.modules():
            self._own.add(copied(network))

    def look(self) -> None:
        """Look at the teachers, and at what else is frozen and was not looked at."""
        teachers = self._run.teacher_modules()
        others = [module for module in self._run.frozen if id(module) not in self._pool_teachers]
        for modules, known in ((teachers, self._students), (others, self._own)):
            for module in modules:
                if next(module.parameters(), None) is not None:
                    self._classify(module, list(module.state_dict().values()), known)

    def asked(self, strangers: Sequence[nn.Module]) -> None:
        """Modules were called that the run doesn't know: each with parameters of its own, of which it is judged alone."""
        for module in strangers:
            self._classify(module, list(module.parameters(recurse=False)), self._own)

    def _classify(self, module: nn.Module, tensors: Sequence[Tensor], own: KnownTensors) -> None:
        if id(module) in self._looked_at:
            return
        self._looked_at[id(module)] = module
        # the pool first: where students start from the reference teacher's weights, those are also this run's own
        of_pool = all(map(self._pool.holds, tensors))
        if of_pool or not all(map(own.holds, tensors)):
            known = of_pool or all(self._pool.holds(tensor) or own.holds(tensor) for tensor in tensors)
            self.taken.add(POOL if known else OWN)
