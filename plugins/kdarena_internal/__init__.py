"""Distillation from internal representations: all layers at once (``internal``), progressive (``pid``) and stacked (``sid``)."""

from kdarena_internal.method import PID, SID, Internal

variants = (Internal, PID, SID)
