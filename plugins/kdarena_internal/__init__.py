"""Distillation from internal representations: all layers at once (``internal``), progressive (``pid``) and stacked (``sid``)."""

from kdarena_internal.method import Internal
from kdarena_internal.stages import PID, SID

variants = (Internal(), PID(), SID())
