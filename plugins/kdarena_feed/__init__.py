"""FEED: an ensemble of teachers at feature level (``pfeed``), itself in generations (``sfeed``); born-again networks (``ban`` and its controls)."""

from kdarena_feed import ban
from kdarena_feed.pfeed import PFEED
from kdarena_feed.sfeed import SFEED

variants = (PFEED(), SFEED(), *ban.variants)
