"""``RunSpec -> RunResult``: build, train, evaluate, on one device, one run or several side by side, touching nothing but checkpoint files.

Neither MLflow nor Optuna is imported here, so that a machine with torch and pluggy alone can execute runs.
"""

from __future__ import annotations

import random
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial

import numpy
import torch
from torch import nn

from kdarena.errors import Diverged, MethodError, NotApplicable, NotFinite, Replaced, UserError, described
from kdarena.execute import environment
from kdarena.execute.average import averaged
from kdarena.execute.filled import fill, left_of, measured
from kdarena.execute.hooks import is_out_of_memory, parameter_count
from kdarena.execute.learning_curve import learning_curve
from kdarena.execute.memory import Memory
from kdarena.execute.payment import HARNESS
from kdarena.execute.plain_build import plain_build
from kdarena.execute.profile import profile
from kdarena.execute.scores import check_given, check_trained, further_scores, order_of_classes, scores
from kdarena.execute.start import EXTRA, Seen
from kdarena.execute.together import Blocks, Group, take_turns
from kdarena.execute.train import Training
from kdarena.execute.turns import OwnTime
from kdarena.execute.workspace import Workspace, new_run, student_maker
from kdarena.method.contract import Phase
from kdarena.method.declaration import REFERENCE
from kdarena.method.plugin import STUDENT
from kdarena.method.run import Run, TeacherChanged
from kdarena.plan.budget import MINIMUM_STEPS, TEACHER_TOO_SMALL, TOO_SMALL, UNDERSPEND, commit, spend
from kdarena.plan.cost import CostProfile, ProfileSpec
from kdarena.plan.spec import FILLED_S, RunResult, RunSpec, Status, of_method
from kdarena.seeds import derive
from kdarena.tracks.checkpoints import save
from kdarena.tracks.compiled import Compiled
from kdarena.tracks.lock import auxiliary_drawn
from kdarena.tracks.measure import Stopwatch, finish
from kdarena.tracks.samples import PackedSamples, packed
from kdarena.tracks.subsample import sampled
from kdarena.tracks.values import Split

OURS = (Diverged, MethodError, NotApplicable, NotFinite, Replaced, TeacherChanged, UserError)
"""Exceptions whose text is the whole line for the user."""


def execute(spec: RunSpec, workspace: Workspace) -> RunResult:
    """Train and evaluate one run. Whatever goes wrong becomes a status; only ``KeyboardInterrupt`` passes."""
    ((_, result),) = execute_together([spec], workspace)
    return result


def execute_together(specs: Sequence[RunSpec], workspace: Workspace) -> Iterator[tuple[RunSpec, RunResult]]:
    """Train and evaluate runs of one task side by side: one block of steps of each in turn, each result as soon as its run ends.

    What a run gives is what it gives alone. One that fails ends alone; where memory runs out, those that have not ended begin anew, half as many at a time.

    Raises:
        Disturbed: see :func:`kdarena.execute.together.take_turns`; never where there is one run.
    """
    return take_turns(specs, workspace, partial(_blocks, workspace))


def _blocks(workspace: Workspace, spec: RunSpec, group: Group) -> Blocks:
    try:
        if spec.purpose == "given":
            return _score_given(spec, workspace)
        execution = _Execution(spec, workspace, group)
        result = yield from execution.blocks()
        return replace(result, notes=(*result.notes, *execution.notes), outside=execution.outside())
    except Exception as error:
        return RunResult(key=spec.key, status=_status_of(error), error=one_line(error))


class _Execution:
    def __init__(self, spec: RunSpec, workspace: Workspace, group: Group):
        self.own_time = OwnTime()
        self.spec, self.workspace, self.group = spec, workspace, group
        self.task = workspace.task_of(spec)
        self.plugin = workspace.plugin(spec.method, spec.source)
        self.new_student = student_maker(self.task, workspace, spec)
        self.deployed = self.new_student(0)  # now, before a hook can change anything that it is made by
        self.evaluation_s = self.curve_s = 0.0
        self.notes: list[str] = []
        self.report = partial(workspace.report, spec.key) if workspace.report is not None else None

    def blocks(self) -> Blocks:
        """Build, then the training block by block, then evaluation."""
        spec, task = self.spec, self.task
        advice = TEACHER_TOO_SMALL if spec.purpose == "teacher" else TOO_SMALL
        steps = commit(spec.costs, spec.budget.amount, 1 if spec.purpose == "control" else MINIMUM_STEPS, unit=spec.budget.unit, advice=advice)
        self.plain = plain_build(spec, task, self.workspace)
        seed_everything(spec.seed)
        self.hooks, run = new_run(self.plugin, task, self.workspace, spec)
        with self.hooks.clock.of(HARNESS):
            filled = fill(spec, task, run, self.workspace)
        seen, view = Seen(run, self.new_student), run.task
        self.notes = view.call.notes if isinstance(view.call, Compiled) else []
        phases = self.hooks.build(run, seen.after)
        self._check_schedule(phases)
        with self.hooks.clock.of(HARNESS):
            seen.scheduled(len(phases))
        amount, places = left_of(spec)
        training = Training(
            self.hooks, run, phases, of_method(spec.costs), amount, report=self.report, seen=seen, places=places, device_time=self.group.device_time
        )
        finish(task.device)  # what building and filling have left with the worker's task may be read by others
        build_s = self.own_time.wall - filled.seconds
        with self.own_time.paused(), self.hooks.away():
            yield
        for _ in training.blocks():
            with self.own_time.paused():
                yield
        status: Status = "done"
        trained = training.trained
        if self.report is not None:
            task.alive = partial(self.report, 1.0)
        with self.hooks.clock.of(HARNESS):
            run.check_teachers()
            self.hooks.check_student(run)
            supervision = seen.taken() | ({EXTRA} if auxiliary_drawn(view) else set())
            records = (*filled.records, *trained.phases)
            taken = [phase.steps for phase in records]
            committed = spend(spec.costs, steps)
            if spend(spec.costs, taken) < (1 - UNDERSPEND) * spec.budget.amount:
                status = "underspent"
            student = self._deployed(run)
            checkpoint, weights = (None, None) if spec.purpose == "tune" else self._save(student)
            metrics, test_samples = self._evaluate(run, student)
            curve = self._learning_curve(student, training)
        counted = [int(cost.flops) for cost in spec.costs]
        return RunResult(
            key=spec.key,
            status=status,
            metrics=metrics,
            curves={**trained.curves, **curve},
            phases=records,
            committed=committed,
            spent_s=trained.seconds + filled.seconds,
            steps=training.steps,
            samples=trained.samples,
            student_updates=training.student_updates(),
            flops=float(sum(flops * count for flops, count in zip(counted, taken, strict=False))),
            taken=tuple(sorted(supervision)),
            parameters=parameter_count(run.learner.student),
            system={
                "build_s": build_s,
                "evaluation_s": self.evaluation_s,
                **({"curve_s": self.curve_s} if curve else {}),
                **({FILLED_S: filled.seconds} if spec.stored else {}),
                "total_s": self.own_time.wall,
                "processor_s": self.own_time.processor,
                "together": float(self.group.size),
                **self.group.memory.taken(),
                **self._of_data(),
            },
            environment={**environment.of_device(task.device), "threads": str(torch.get_num_threads()), "precision": spec.precision},
            checkpoint=checkpoint,
            weights=weights,
            test_samples=test_samples,
            eager=dict(self.hooks.eager),
            notes=filled.notes,
        )

    def outside(self) -> dict[str, float]:
        """Device seconds by hook that the method took outside its charged steps, until the last of its objects is dropped."""
        self.hooks.release()
        return self.hooks.clock.outside(self.plain)

    def _check_schedule(self, phases: Sequence[Phase]) -> None:
        scheduled = [(phase.name, phase.steps) for phase in phases]
        profiled = [(cost.phase, cost.steps) for cost in of_method(self.spec.costs)]
        if scheduled != profiled:
            raise MethodError(
                self.spec.method,
                "schedule",
                f"phases {scheduled} are not those that were profiled, {profiled}; the schedule may depend on cost-relevant parameters only",
            )

    def _of_data(self) -> dict[str, float]:
        """How many test samples are also in train, where test is read and the task can say, and how many files were left out, where some were."""
        overlap = self.task.overlap if self.spec.purpose != "tune" else None
        left_out = {"files_left_out": float(self.task.left_out)} if self.task.left_out else {}
        return left_out if overlap is None else {"test_in_train": float(overlap), **left_out}

    def _deployed(self, run: Run) -> nn.Module:
        """A reference student that no hook has seen, with the weights of the run's, or their average where the recipe says so: it alone is scored and exported, whatever the run's own does."""
        replaced = self.workspace.replaced()
        if replaced:
            raise Replaced(f"plugin {self.spec.method!r} replaced {', '.join(replaced[:3])} while it ran: what scores networks has to be as it was")
        check_trained(run.learner.student, "teacher" if self.spec.purpose == "teacher" else "student")
        self.deployed.load_state_dict(averaged(self.hooks.average, run.learner.student))
        return self.deployed

    def _save(self, student: nn.Module) -> tuple[str, str]:
        """Write the student; returns its file's name and digest."""
        checkpoint = f"{self.spec.key}.safetensors"
        try:
            return checkpoint, save(student, self.workspace.output / checkpoint)
        except OSError as error:
            raise UserError(f"{self.workspace.output / checkpoint}: the student can't be written ({error.strerror}); repeat the command when it can") from error

    def _evaluate(self, run: Run, student: nn.Module) -> tuple[dict[str, float], PackedSamples | None]:
        """Metrics, and of a final run what each test sample adds to the ranked one."""
        spec, task = self.spec, self.task
        started = time.perf_counter()
        reference = self.workspace.reference(task, spec.reference) if spec.reference else None
        split = Split(spec.seed, spec.protocol)
        measured = scores(spec, task, student, split, reference, teacher_inputs=spec.trains is not None)
        metrics, samples = measured.metrics, measured.samples if spec.purpose == "final" else None
        if spec.purpose in ("final", "control"):
            metrics |= further_scores(spec, self.hooks, run, task, student, reference)
        self.evaluation_s += time.perf_counter() - started
        return metrics, None if samples is None else packed(samples)

    def _learning_curve(self, student: nn.Module, training: Training) -> dict[str, list[tuple[int, float]]]:
        """The curve of the deployed student on a part of validation, where one is planned; measured once the training is over, so that no hook can see it."""
        spec = self.spec
        if spec.curve is None or spec.protocol == "published":
            return {}
        started = time.perf_counter()
        points = learning_curve(sampled(self.task, "validation", spec.curve.samples), student, training.kept, training.steps, Split(spec.seed, spec.protocol))
        self.curve_s += time.perf_counter() - started
        return {f"validation/{self.task.card.metric}": points}


def _score_given(spec: RunSpec, workspace: Workspace) -> RunResult:
    """Score the user's own teacher as a trained one is; nothing is trained."""
    started = time.perf_counter()
    task = workspace.task_of(spec)
    assert spec.start is not None
    network = workspace.teacher(task, REFERENCE, spec.start)
    check_given(network)
    split = Split(spec.seed, spec.protocol)
    metrics = scores(spec, task, network, split, None, teacher_inputs=True).metrics
    note = order_of_classes(task, network, "validation" if spec.protocol == "validated" else "test", split)
    return RunResult(
        key=spec.key,
        status="done",
        metrics=metrics,
        notes=() if note is None else (note,),
        parameters=parameter_count(network),
        system={"evaluation_s": time.perf_counter() - started},
        environment={**environment.of_device(task.device), "threads": str(torch.get_num_threads()), "precision": spec.precision},
        weights=spec.start,
    )


def execute_profile(spec: ProfileSpec, workspace: Workspace) -> CostProfile:
    """Measure a part of the cost profile of one method; what goes wrong becomes the status."""
    try:
        task = workspace.task_of(spec)
        plugin = workspace.plugin(spec.method, spec.source)
        memory, stopwatch = Memory(task.device), Stopwatch(task.device)
        stopwatch.start()
        seed_everything(spec.seed)
        alone = replace(spec, method=STUDENT.name, params={}, teachers=(), trains=None, stored=())
        made = new_run(plugin, task, workspace, spec)
        filling, notes = measured(spec, task, made[1], workspace)
        measures, student_s = profile(
            lambda: made,
            lambda: new_run(STUDENT, task, workspace, alone),
            timed=spec.timed,
            random=random.Random(derive(0, "progress", spec.key)),
            alive=lambda: workspace.report(spec.key, 0.0) if workspace.report is not None else None,
            filling=filling,
            look=notes.look,
        )
        _, run = new_run(STUDENT, task, workspace, alone)
        deployed, taken = run.new_student(), memory.taken()
        return CostProfile(
            key=spec.key,
            phases=tuple(measures),
            steps_per_epoch=run.steps_per_epoch,
            student_s=student_s,
            seconds=stopwatch.stop(),
            latency_ms=task.latency_ms(deployed),
            parameters=parameter_count(deployed),
            environment=environment.of_device(task.device),
            own_memory_mib=taken.get("own_memory_mib"),
            free_memory_mib=taken.get("free_memory_mib"),
            read=notes.read,
        )
    except Exception as error:
        return CostProfile(spec.key, (), 0, None, 0.0, 0.0, 0, status=_status_of(error), error=one_line(error))


def seed_everything(seed: int) -> None:
    """Seed the global generators: torch's, from which helpers and dropout draw, and those of Python and numpy, from which a method may."""
    torch.manual_seed(derive(seed, "global"))
    random.seed(derive(seed, "python"))
    numpy.random.seed(derive(seed, "numpy") % 2**32)


def one_line(error: BaseException) -> str:
    """An exception as one line."""
    return " ".join(str(error).split()) if isinstance(error, OURS) else described(error)


def _status_of(error: Exception) -> Status:
    """The status of a run or a profile that an exception ended; an unforeseen exception leaves its traceback in the log."""
    if isinstance(error, (Diverged, NotFinite)):
        return "diverged"
    if isinstance(error, NotApplicable):
        return "skipped"
    if is_out_of_memory(error):
        return "oom"
    if not isinstance(error, OURS):
        traceback.print_exception(error, file=sys.stderr)
    return "error"
