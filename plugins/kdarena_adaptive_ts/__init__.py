"""Teacher-student adaptation of speech decoders: unlabelled (``ts``, ``ts-seq``) and with labels (``its``, ``cts``, ``ats``)."""

from kdarena_adaptive_ts.labelled import ATS, CTS, ITS
from kdarena_adaptive_ts.unlabelled import TS, TSSequence

variants = (TS, TSSequence, ITS, CTS, ATS)
