"""The field's baselines: of features (``fitnet`` … ``reviewkd``), of logits (``dkd``, ``dist``), contrastive (``crd``), of branches (``one``)."""

from kdarena_baselines import dist, dkd, rkd
from kdarena_baselines.at import AT
from kdarena_baselines.crd import CRD
from kdarena_baselines.fitnet import FitNet
from kdarena_baselines.one import ONE
from kdarena_baselines.reviewkd import ReviewKD
from kdarena_baselines.sp import SP

variants = (FitNet, AT, SP, rkd, CRD, ReviewKD, dkd, dist, ONE)
