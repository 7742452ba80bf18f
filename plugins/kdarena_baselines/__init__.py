"""The public benchmarks' baselines: of features (``fitnet``, ``at``, ``sp``, ``rkd``, ``reviewkd``) and of logits (``dkd``, ``dist``)."""

from kdarena_baselines.at import AT
from kdarena_baselines.dist import DIST
from kdarena_baselines.dkd import DKD
from kdarena_baselines.fitnet import FitNet
from kdarena_baselines.reviewkd import ReviewKD
from kdarena_baselines.rkd import RKD
from kdarena_baselines.sp import SP

variants = (FitNet(), AT(), SP(), RKD(), ReviewKD(), DKD(), DIST())
