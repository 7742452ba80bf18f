"""Compiling a task's networks before any run on it."""

from __future__ import annotations

import torch

from kdarena.tracks.compiled import Compiled
from kdarena.tracks.task import Task
from kdarena.tracks.values import Split


def compile_ahead(task: Task) -> None:
    """Compile the student as it is trained and the teacher as it is asked.

    Torch's compiler changes a process when it is first used, which is no method's doing; and it takes time that is no run's. What it made is kept by torch
    for all networks of an architecture.
    """
    plain, task.call = task.call, Compiled(task.card.recipe.batch_size)
    batch = next(task.batches(Split(0), "augmented"))
    try:
        with torch.random.fork_rng(devices=[task.device] if task.device.type == "cuda" else []):
            task.answered(task.new_network(task.card.student).train(), batch)
            if task.card.teacher_logits is not None:  # a table, which nobody calls
                return
            with torch.no_grad():
                task.answered(task.new_network(task.card.teacher).eval().requires_grad_(False), batch, teacher_inputs=True)
    finally:
        task.call = plain
