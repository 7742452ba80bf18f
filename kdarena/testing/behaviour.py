"""What a method does to its networks, its process and what it is given: checks of what was seen in a short training."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence

import torch

from kdarena.testing.finding import Finding
from kdarena.testing.observed import Observed, equal, state_of

FEW_LABELS = 8
"""Labels that a method made, from which on it counts that all of them are small."""
LARGEST = 1e6
"""A term beyond it is far from that of any task, of which a cross-entropy is below 10."""


def finite(seen: Observed) -> Finding:
    """Every term of every step is a number."""
    for phase, steps in seen.history.items():
        for position, terms in enumerate(steps):
            for name, value in terms.items():
                if not math.isfinite(value):
                    return Finding("loss", "failed", f"term {name!r} is {value} in step {position} of phase {phase!r}; look for a logarithm or a division of 0")
                if value < -LARGEST:
                    return Finding(
                        "loss", "failed", f"term {name!r} is {value:.3g} in step {position} of phase {phase!r}; a loss that falls without bound trains nothing"
                    )
    count = sum(len(steps) for steps in seen.history.values())
    return Finding("loss", "ok", f"finite in {count} steps of {_phases(seen)}")


def student(seen: Observed) -> Iterator[Finding]:
    """Gradients reach the student, which is in train mode throughout."""
    sights = seen.sights
    missing = [parameter for key, parameter in sights.student.items() if key not in sights.trained]
    still = [parameter for key, parameter in sights.student.items() if key not in sights.reached]
    if len(missing) == len(sights.student):
        yield Finding("student", "failed", "no update of any phase trains it; name run.learner.student.parameters() in an Update of schedule")
    elif len(still) == len(sights.student):
        yield Finding("student", "failed", "no gradient reaches it in any phase, or it is zero; compute a term from step.student, without detach or no_grad")
    else:
        part = f"; {len(still)} of its {len(sights.student)} parameters get none" if still else ""
        yield Finding("student", "ok", f"gradients reach it{part}")
    for phase, what in sights.in_eval.items():
        yield Finding("train mode", "failed", f"the student {what} in phase {phase!r}; leave out .eval(), or call .train() again before the hook returns")
    if not sights.in_eval:
        yield Finding("train mode", "ok")


def helpers(seen: Observed) -> Finding:
    """Each trainable parameter of a helper is trained by an update, and by nothing else."""
    sights = seen.sights
    untrained = Counter(name for key, (name, _, _) in sights.helpers.items() if key not in sights.trained)
    moved = [name for key, (name, parameter, before) in sights.helpers.items() if key not in sights.trained and not torch.equal(parameter.detach(), before)]
    if moved:
        return Finding(
            "helpers",
            "failed",
            f"helper {moved[0]!r} changes although no update trains it, so that its steps are not charged; name its parameters in Update.params",
        )
    if untrained:
        name, count = next(iter(untrained.items()))
        of = sum(owner == name for owner, _, _ in sights.helpers.values())
        return Finding(
            "helpers",
            "failed",
            f"no update of any phase steps {count} of {of} parameters of helper {name!r}; name them in Update.params, or freeze what is not to learn",
        )
    strange = [type(module).__name__ for module in sights.strangers if any(parameter.requires_grad for parameter in module.parameters(recurse=False))]
    if strange:
        return Finding(
            "helpers",
            "failed",
            f"a network ({strange[0]}) is called that no update trains; put it into Learner.helpers, which the default update trains, or freeze it",
        )
    names = list(dict.fromkeys(name for name, _, _ in sights.helpers.values()))
    return Finding("helpers", "ok", f"trained: {', '.join(names)}" if names else "")


def teachers(seen: Observed) -> Finding:
    """Teachers are bit-identical and in eval mode; the harness's own look, and the weights once more."""
    run = seen.run
    try:
        run.check_teachers()
    except Exception as error:
        return Finding("teachers", "failed", str(error))
    if not all(equal(state_of(teacher), before) for teacher, before in zip(run.teachers, seen.teachers, strict=True)):
        return Finding(
            "teachers", "failed", "the weights or buffers of a teacher changed; call it through step.teacher or step.forward, which keeps it as it is"
        )
    if any(parameter.grad is not None for teacher in run.teachers for parameter in teacher.parameters()):
        return Finding("teachers", "failed", "a gradient was accumulated in a teacher; detach what it says")
    return Finding("teachers", "ok", f"{len(run.teachers)} in eval mode and bit-identical after training" if run.teachers else "takes none")


def labels(seen: Observed) -> Finding:
    """Labels that a method makes are of all classes, not of as many as the inputs have channels."""
    made = torch.cat([torch.zeros(0, dtype=torch.long), *(labels.long() for labels in seen.sights.labels)])
    made = made[made >= 0]
    inputs = seen.run.task.one_batch().inputs
    channels, classes = inputs.shape[1] if inputs.dim() > 2 else 0, seen.run.task.classes
    if len(made) >= FEW_LABELS and 0 < channels < classes and int(made.max()) < channels:
        return Finding(
            "labels",
            "failed",
            f"all {len(made)} labels that it puts in the place of the true ones are below {channels}, the number of channels of the inputs, where there are "
            f"{classes} classes; draw them below step.task.classes, not below inputs.shape[1]",
        )
    return Finding("labels", "ok", f"{len(made)} replaced, of all classes" if len(made) else "")


def untouched(seen: Observed) -> Finding:
    """What the method is given is as it was."""
    after = seen.after
    changed = [name for name, value in seen.before.items() if after[name] != value]
    if changed:
        return Finding(
            "configuration",
            "failed",
            f"it changes {changed[0]}, which is the caller's and holds for what comes after; make a copy of your own (dict(…), dataclasses.replace)",
        )
    if seen.sights.changed:
        return Finding(
            "configuration",
            "failed",
            f"it changes step.{next(iter(seen.sights.changed))} in place, which others read too; write x = x + … in the place of x += …",
        )
    return Finding("configuration", "ok", "what it is given is unchanged")


def exported(seen: Observed) -> Finding:
    """The trained student goes into a fresh one of the task, which then says the same."""
    run = seen.run
    try:
        run.hooks.check_student(run)
        fresh = run.new_student()
        fresh.load_state_dict(run.learner.student.state_dict())
        with torch.no_grad():
            batch = run.task.one_batch()
            said = [run.task.answered(network.eval(), batch).logits for network in (run.learner.student, fresh)]
    except Exception as error:
        return Finding("export", "failed", f"{' '.join(str(error).split())}; the student has to be as run.new_student() makes it")
    finally:
        run.learner.student.train()
    if not torch.equal(*said):
        return Finding(
            "export",
            "failed",
            "a fresh student with the trained weights gives other outputs; what the student does may not hang on anything but its weights (a patched forward?)",
        )
    return Finding("export", "ok", "the trained weights, in a fresh student, give the same outputs")


def _phases(seen: Observed) -> str:
    names: Sequence[str] = list(seen.history)
    return f"phase {names[0]!r}" if len(names) == 1 else f"the phases {', '.join(map(repr, names))}"
