"""FEED: an ensemble of teachers at feature level (``pfeed``), itself in generations (``sfeed``); born-again networks (``ban`` and its controls)."""

from kdarena_feed.ban import BAN, CWTM, DKPP
from kdarena_feed.pfeed import PFEED
from kdarena_feed.sfeed import SFEED

variants = (PFEED, SFEED, BAN, CWTM, DKPP)
