"""Distillation of logits: from one teacher (``kd``), from several (``kd-ensemble``), and among peers (``dml``)."""

from kdarena_kd import dml, kd, kd_ensemble

variants = (kd, kd_ensemble, dml)
