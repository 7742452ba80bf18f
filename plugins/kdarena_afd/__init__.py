"""AFD: online adversarial distillation on feature maps: of a pair (``afd``), of a small and a large network (``afd-large``), in a cycle of three (``afd-cycle``)."""

from kdarena_afd.afd import AFD, AFDCycle, AFDLarge

variants = (AFD, AFDCycle, AFDLarge)
