"""Ensemble distribution distillation: the mean of an ensemble (``end``), its distribution (``endd``), both also with auxiliary data (``-aux``)."""

from kdarena_endd.end import EnD, EnDAux
from kdarena_endd.endd import EnDD, EnDDAux

variants = (EnD, EnDD, EnDAux, EnDDAux)
