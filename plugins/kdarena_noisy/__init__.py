"""Noise in distillation: a teacher with dropout (``fickle``), noisy inputs (``soft-randomization``), wrong labels (``messy-teacher``, ``messy-student``, ``messy``)."""

from kdarena_noisy import fickle, soft_randomization
from kdarena_noisy.messy import Messy, MessyStudent, MessyTeacher

variants = (fickle, soft_randomization, MessyTeacher, MessyStudent, Messy)
