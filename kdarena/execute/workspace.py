"""What a worker keeps between runs, and what it makes a run of."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from weakref import WeakSet

import torch
from torch import nn

from kdarena.errors import UserError
from kdarena.execute.capture import capture_on
from kdarena.execute.compile_ahead import compile_ahead
from kdarena.execute.hooks import Hooks
from kdarena.execute.teacher_outputs import TeacherOutputs
from kdarena.files import digest_of
from kdarena.method.declaration import Method, TeacherSpec
from kdarena.method.discovery import find, listing
from kdarena.method.findings import Known
from kdarena.method.origin import module_of_file
from kdarena.method.plugin import STUDENT, Plugin
from kdarena.method.run import Run
from kdarena.params import Params, make_params
from kdarena.plan.code import code_digest, harness_digest
from kdarena.plan.cost import ProfileSpec
from kdarena.plan.machine import device_name
from kdarena.plan.spec import RunSpec
from kdarena.tracks import find_card, load_task
from kdarena.tracks.checkpoints import load_into
from kdarena.tracks.compiled import Compiled
from kdarena.tracks.known_logits import KnownLogits
from kdarena.tracks.lock import training_view
from kdarena.tracks.own import OwnTask
from kdarena.tracks.task import Task
from kdarena.tracks.values import Setting, Split


@dataclass
class Workspace:
    """What a worker keeps between runs: where files lie, loaded tasks, loaded plugins.

    Attributes:
        teachers: folder of teachers' checkpoints, named by the digest of their weights.
        output: folder that students' checkpoints are written to.
        data_root: of the tasks' data.
        own: tasks that the user brings.
        plugin_paths: files of plugins in addition to the installed ones.
        device: with its index, as ``cuda:0``.
        report: called with the key and the progress of a run now and then.
        loaded: called when a task was loaded, or its networks were compiled ahead, before any code of a method runs on it.
        replaced: what a run has replaced of the functions that score it, a few words each.
        turned: called with a run's method after each turn that it had among others; says what the process has that is not as it was before any method's
            code ran, a few words each.
        teacher_outputs: of the loaded task's teachers.
        plain_builds: device seconds that building the plain student takes, by hook, for each loaded task and precision.
        made_up: whether tasks are loaded over made-up data.
        code: digest of the harness's code as it was when the worker began; files that are edited later change nothing that is loaded.
    """

    teachers: Path
    output: Path
    data_root: str | None = None
    own: Sequence[OwnTask] = ()
    plugin_paths: Sequence[str] = ()
    device: str = "cpu"
    report: Callable[[str, float], None] | None = None
    loaded: Callable[[], None] = lambda: None
    replaced: Callable[[], Sequence[str]] = tuple
    turned: Callable[[str], Sequence[str]] = lambda method: ()
    teacher_outputs: TeacherOutputs = field(default_factory=TeacherOutputs)
    plain_builds: dict[tuple[str, str], Mapping[str, float]] = field(default_factory=dict)
    made_up: bool = False
    code: str = field(default_factory=harness_digest)
    _tasks: dict[tuple[str, str, int | None], Task] = field(default_factory=dict)
    _data: dict[str, str] = field(default_factory=dict)
    _listed: Sequence[Known] = ()
    _kept: set[str] = field(default_factory=lambda: set(sys.modules))
    _compiled: WeakSet[Task] = field(default_factory=WeakSet)
    _references: dict[tuple[str, str, str], nn.Module] = field(default_factory=dict)

    def task_of(self, spec: RunSpec | ProfileSpec) -> Task:
        """The task of a spec, where this worker is what the spec says: its code, torch, device and data; what a spec leaves open is not compared.

        Raises:
            UserError: says what is different.
        """
        device = device_name(torch.device(self.device)) if spec.device_name else ""
        for what, said, here in (
            ("the code of kdarena", spec.code, self.code),
            ("the version of torch", spec.torch, torch.__version__),
            ("the model of the device", spec.device_name, device),
        ):
            _expect(what, said, here)
        loaded = (spec.task, spec.precision, spec.views) in self._tasks
        task = self.task(spec.task, spec.precision, spec.views)
        if spec.code and not loaded:  # loading it has imported code that the worker did not have before
            self.code = code_digest()
            _expect("the code of kdarena", spec.code, self.code)
        if spec.data:
            if spec.task not in self._data:
                self._data[spec.task] = task.card.digest(self.data_root)
            _expect(f"the data of task {spec.task}", spec.data, self._data[spec.task])
        if spec.compiled and task not in self._compiled:
            compile_ahead(task)
            self._compiled.add(task)
            self.loaded()
        return task

    def task(self, name: str, precision: str, views: int | None = None) -> Task:
        """The task on the device; loaded once, and only one at a time stays loaded."""
        key = name, precision, views
        if key not in self._tasks:
            self._tasks.clear()
            self.teacher_outputs.forget()
            self._data.clear()
            self._references.clear()
            self.plain_builds.clear()
            card, before = find_card(name, self.data_root, self.own), set(sys.modules)
            setting = Setting(torch.device(self.device), precision, self.data_root, made_up=self.made_up, views=views)  # type: ignore[arg-type]
            try:
                self._tasks[key] = load_task(card, setting)
            except (OSError, ValueError) as error:
                raise UserError(f"task {name}: its data can't be loaded: {error}") from error
            self._kept |= set(sys.modules) - before
            self.loaded()
        return self._tasks[key]

    def plugin(self, name: str, source: str) -> Plugin:
        """The plugin of a method, the only one that is imported for it, and anew for each run, so that no run meets what another left in it.

        Raises:
            UserError: it can't be imported, or is not the code that the spec was made with.
        """
        if name == STUDENT.name:
            return STUDENT
        self._listed = self._listed or listing(self.plugin_paths, try_out=False)
        self.take_plugin_modules()
        loaded = find(name, self._listed, source)
        if loaded is None or loaded.error is not None:
            raise UserError(f"plugin {name!r} can't be loaded in the worker: {loaded.error if loaded else 'it is not there'}")
        if loaded.source != source:
            raise UserError(f"the code of plugin {name!r} changed while the arena ran; start the command again")
        return loaded

    def take_plugin_modules(self) -> Mapping[str, ModuleType]:
        """Drop the modules that plugins are made of, so that the next import begins with fresh ones; those that the harness has loaded too stay.

        Returns:
            what was dropped, by name: of a run that will go on.
        """
        return {name: sys.modules.pop(name) for name in self._plugin_modules() if name in sys.modules}

    def put_plugin_modules(self, modules: Mapping[str, ModuleType]) -> None:
        """Make those of a run that goes on the only ones again."""
        self.take_plugin_modules()
        sys.modules.update(modules)

    def _plugin_modules(self) -> Iterator[str]:
        files = {name: file for listed in self._listed for name, file in listed.source.files.items()}
        # a package with compiled code often can't be loaded twice into a process
        compiled = {name.partition(".")[0] for name, file in files.items() if file.suffix != ".py"}
        yield from (name for name in files if name not in self._kept and name.partition(".")[0] not in compiled)
        yield from (module_of_file(listed.origin) for listed in self._listed if listed.origin.is_file)

    @property
    def plugin_files(self) -> frozenset[str]:
        """The files that are part of a plugin's digest."""
        return frozenset(os.path.abspath(file) for listed in self._listed for file in listed.source.files.values())

    def teacher(self, task: Task, spec: TeacherSpec, key: str) -> nn.Module:
        """A teacher, in eval mode, a fresh copy for each run, so that no run can change another's.

        Args:
            key: digest of the teacher's weights, which names its file.

        Raises:
            UserError: the file is missing or holds other weights.
        """
        path = self.teachers / f"{key}.safetensors"
        if not path.is_file() or digest_of(path) != key:
            what = "was changed after it was recorded" if path.is_file() else "is missing"
            raise UserError(f"{path}: the teacher {what}; the same command makes it again")
        named = task.card.architecture(spec.architecture)
        if task.card.teacher_logits is not None and named == task.card.teacher:
            return KnownLogits.of_file(path).to(task.device).eval()
        with torch.random.fork_rng(devices=[]):
            network = task.new_network(named, dropout=spec.dropout)
        load_into(network, path)
        return network.eval().requires_grad_(False)

    def reference(self, task: Task, key: str) -> nn.Module:
        """The reference teacher for agreement metrics; kept, since its predictions are cached by the task."""
        identity = (task.card.name, task.setting.precision, key)
        if identity not in self._references:
            self._references[identity] = self.teacher(task, TeacherSpec(), key)
        return self._references[identity]


def _expect(what: str, said: str, here: str) -> None:
    """Assert that something is what a spec says of it, if it says anything."""
    if said and said != here:
        raise UserError(f"{what} changed while the arena ran (planned with {said}, now {here}); start the command again")


def new_run(plugin: Plugin, task: Task, workspace: Workspace, spec: RunSpec | ProfileSpec) -> tuple[Hooks, Run]:
    """The hooks of a new instance of a method, and the run that they work in, with its teachers loaded.

    The run has a training view of the task: nothing of validation and test, and what a method puts in the place of one of its functions
    ends with the run; the training data are shared.
    """
    assert plugin.method is not None
    params = make_params(plugin.method.Params, spec.params)
    split = Split(spec.seed, spec.protocol)
    every = (workspace.teacher(task, teacher, key) for teacher, key in spec.teachers)
    teachers = [teacher.trained_on(task.training_rows(split)) if isinstance(teacher, KnownLogits) else teacher for teacher in every]
    view = training_view(task, split, auxiliary=plugin.method.auxiliary)
    if spec.compiled:
        view.call = Compiled(task.card.recipe.batch_size)
    run = _run(view, plugin.method, params, workspace.reference(task, spec.start) if isinstance(spec, RunSpec) and spec.start else None, spec, teachers)
    return Hooks(plugin, params, task.device, capture_on(task.device) if spec.capture else None), run


def student_maker(task: Task, workspace: Workspace, spec: RunSpec) -> Callable[[int], nn.Module]:
    """Makes the student of a generation as ``run.new_student`` does, on the worker's own task, where no hook can change it."""
    assert STUDENT.method is not None
    run = _run(task, STUDENT.method, Params(), workspace.reference(task, spec.start) if spec.start else None, spec)
    return lambda generation: run.new_student(generation=generation)


def _run(task: Task, method: Method, params: Params, start: nn.Module | None, spec: RunSpec | ProfileSpec, teachers: Sequence[nn.Module] = ()) -> Run:
    recipe = spec.recipe if isinstance(spec, RunSpec) else {}
    return Run(task, method, params, seed=spec.seed, recipe=recipe, protocol=spec.protocol, teachers=teachers, trains=spec.trains, start=start)
