"""Noise in distillation: a teacher with dropout (``fickle``), noisy inputs (``soft-randomization``), wrong labels (``messy-teacher``, ``messy-student``, ``messy``)."""

from kdarena_noisy.fickle import Fickle
from kdarena_noisy.messy import Messy, MessyStudent, MessyTeacher
from kdarena_noisy.soft_randomization import SoftRandomization

variants = (Fickle(), SoftRandomization(), MessyTeacher(), MessyStudent(), Messy())
