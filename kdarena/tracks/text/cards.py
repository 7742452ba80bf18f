"""The track's tasks as cards: neither torch nor any data is touched before a card's functions are called."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kdarena.tracks.card import TaskCard
from kdarena.tracks.recipe import Recipe, recipe_of_pair
from kdarena.tracks.text import checkpoint, data, glue, grammar
from kdarena.tracks.text.architectures import architecture

if TYPE_CHECKING:
    from kdarena.tracks.text.task import TextTask
    from kdarena.tracks.values import Setting

TRACK = "text"
DATA_SETS = ("grammar", *glue.LAYOUTS)
METRIC_GROUPS = ("uncertainty",)
LARGEST_VALIDATION = 5_000

BERT: dict[str, Any] = {"momentum": 0.9, "batch_size": 32, "optimizer": "adamw", "decay": "linear", "warmup": 0.1, "clip": 1.0}
"""What BERT's fine-tuning and training from scratch have in common (arXiv 1810.04805, appendix A)."""
GRAMMAR_RECIPE = Recipe(lr=5e-3, weight_decay=0.01, teacher_epochs=2.5, student_epochs=2, teacher_lr=2e-3, **BERT)
SCRATCH_RECIPE = Recipe(lr=5e-4, weight_decay=0.01, teacher_epochs=10, student_epochs=10, **BERT)
CHECKPOINT_RECIPE = Recipe(lr=5e-5, weight_decay=0.01, teacher_epochs=4, student_epochs=10, **BERT)

GRAMMAR_PAIR = ("bert-4-32", "bert-2-32")
PAIRS = (("bert-4-128", "bert-2-128"), ("bert-12", "bert-6"))
"""Of GLUE's data sets: small ones that train from scratch on a CPU, and the sizes of the internal representations' paper; the default first."""


def cards(data_root: str | None = None) -> tuple[TaskCard, ...]:
    """The tasks that are listed; :func:`card` knows every other pair too."""
    return (_grammar(), *(_glue(name, *pair, data_root) for name in glue.LAYOUTS for pair in PAIRS))


def card(name: str, data_root: str | None = None) -> TaskCard:
    """The task of that name: ``grammar``, ``cola`` (its default pair) or ``cola:TEACHER:STUDENT``.

    Each of the two is an architecture (``bert-4-128``) or the folder of a local checkpoint (``/models/bert-base``).

    Raises:
        ValueError: in one line: no such task, architecture or checkpoint.
    """
    data_set, _, pair = name.partition(":")
    data_set = data_set.lower()
    if data_set == "grammar" and not pair:
        return _grammar()
    if data_set not in glue.LAYOUTS:
        raise ValueError(f"unknown task {name!r}; known: {', '.join(DATA_SETS)}, and {', '.join(f'{known}:TEACHER:STUDENT' for known in glue.LAYOUTS)}")
    networks = tuple(pair.split(":")) if pair else PAIRS[0]
    if len(networks) != 2 or not all(networks):
        raise ValueError(f"task {name!r}: expected TEACHER:STUDENT after the data set, each an architecture or the folder of a checkpoint")
    return _glue(data_set, networks[0], networks[1], data_root)


def _grammar() -> TaskCard:
    teacher, student = GRAMMAR_PAIR
    return TaskCard(
        name="grammar",
        track=TRACK,
        data_set="grammar",
        teacher=teacher,
        student=student,
        classes=2,
        train=2 * grammar.TRAIN_PAIRS,
        validation=2 * grammar.VALIDATION_PAIRS,
        test=2 * grammar.TEST_PAIRS,
        metric="accuracy",
        recipe=GRAMMAR_RECIPE,
        missing=lambda data_root: None,
        digest=lambda data_root: data.grammar_digest(),
        load=_load_grammar,
        embedded=True,
        attentions=layers_of(student),
        teacher_dropout=True,
        augmentations=1,
        metric_groups=METRIC_GROUPS,
    )


def _glue(name: str, teacher: str, student: str, data_root: str | None) -> TaskCard:
    checkpoints = tuple(dict.fromkeys(network for network in (teacher, student) if checkpoint.is_folder(network)))
    test = glue.size(name, "test", data_root)
    validation = min(test, LARGEST_VALIDATION)
    layers_of(teacher)

    def missing(data_root: str | None) -> str | None:
        problems = (glue.missing_files(name, data_root), *map(checkpoint.missing, checkpoints))
        return next((problem for problem in problems if problem is not None), None)

    def load(card: TaskCard, setting: Setting) -> TextTask:
        from kdarena.tracks.text.task import TextTask

        return TextTask(card, setting, data.load_glue(name, setting.data_root, checkpoints))

    return TaskCard(
        name=f"{name}:{teacher}:{student}",
        track=TRACK,
        data_set=name,
        teacher=teacher,
        student=student,
        classes=len(glue.LAYOUTS[name].labels),
        train=glue.size(name, "train", data_root) - validation,
        validation=validation,
        test=test,
        metric=glue.LAYOUTS[name].metric,
        recipe=recipe_of(teacher, student),
        missing=missing,
        digest=lambda data_root: data.glue_digest(name, data_root, checkpoints),
        check=lambda data_root: glue.check(name, data_root, validation),
        load=load,
        attentions=layers_of(student),
        teacher_dropout=True,
        augmentations=1,
        metric_groups=METRIC_GROUPS,
    )


def recipe_of(teacher: str, student: str) -> Recipe:
    """Of each network what it is: fine-tuned from a checkpoint, or trained from scratch."""
    return recipe_of_pair(*(CHECKPOINT_RECIPE if checkpoint.is_folder(network) else SCRATCH_RECIPE for network in (student, teacher)))


def layers_of(network: str) -> int:
    """Layers of an architecture or of a checkpoint, whose folder need not be there before it is used.

    Raises:
        ValueError: in one line: no such architecture, or a folder of another kind of model.
    """
    if not checkpoint.is_folder(network):
        return architecture(network).layers
    return checkpoint.layers(network)


def _load_grammar(card: TaskCard, setting: Setting) -> TextTask:
    from kdarena.tracks.text.task import TextTask

    return TextTask(card, setting, data.load_grammar())
