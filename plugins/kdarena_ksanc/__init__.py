"""KSANC: squeezed knowledge of every stage, and logits that a critic can't tell from the teacher's."""

from kdarena_ksanc.ksanc import KSANC

variants = (KSANC,)
