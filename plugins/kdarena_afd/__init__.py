"""AFD: online adversarial distillation on feature maps: a pair (``afd``), one with a larger peer (``afd-large``), a cycle of three (``afd-cycle``)."""

from kdarena_afd.method import AFD, AFDLargeParams

variants = (AFD("afd", networks=2), AFD("afd-cycle", networks=3), AFD("afd-large", networks=2, parameters=AFDLargeParams))
