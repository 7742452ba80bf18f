"""AFD: online adversarial distillation on feature maps, for a pair of networks (``afd``) and for a cycle of three (``afd-cycle``)."""

from kdarena_afd.method import AFD

variants = (AFD("afd", networks=2), AFD("afd-cycle", networks=3))
