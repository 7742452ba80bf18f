"""OKDDip: diverse peers and a group leader, as whole networks (``okddip``) or as branches on one stem (``okddip-branch``)."""

from kdarena_okddip.method import OKDDip, OKDDipBranch

variants = (OKDDip, OKDDipBranch)
