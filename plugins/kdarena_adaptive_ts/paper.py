"""The paper of all five rows."""

from kdarena import Paper

PAPER = Paper("Domain Adaptation via Teacher-Student Learning for End-to-End Speech Recognition", "ASRU", 2019, "https://arxiv.org/abs/2001.01798")
