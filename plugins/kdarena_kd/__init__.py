"""Distillation of logits: from one teacher (``kd``), from several (``kd-ensemble``), and among peers (``dml``)."""

from kdarena_kd.dml import DML
from kdarena_kd.kd import KD
from kdarena_kd.kd_ensemble import KDEnsemble

variants = (KD(), KDEnsemble(), DML())
