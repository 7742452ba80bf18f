"""Boards as people and programs read them: on the terminal, as Markdown, LaTeX, CSV and JSON."""
