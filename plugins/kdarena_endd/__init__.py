"""Ensemble distribution distillation: the mean of an ensemble (``end``), its distribution (``endd``), both also with auxiliary data (``-aux``)."""

from kdarena_endd.end import EnD
from kdarena_endd.endd import EnDD

variants = (EnD("end"), EnDD("endd"), EnD("end-aux", auxiliary=True), EnDD("endd-aux", auxiliary=True))
