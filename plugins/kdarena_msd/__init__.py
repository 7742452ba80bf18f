"""MSD: one network with several exits that teach each other (``msd``), on a network's own exits or on branches sampled from a plain one."""

from kdarena_msd.method import MSD

variants = (MSD,)
