"""Programs that an exported student is loaded by where kdarena is not: each is copied into the student's folder as ``load.py``.

Nothing in kdarena imports them. They need torch alone, or the library that the student was exported for, and read the rest from ``config.json``.
"""
