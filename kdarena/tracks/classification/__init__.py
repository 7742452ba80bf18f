"""Track ``classification``: images to one of C classes."""
