"""Engines: where runs are executed. An engine takes jobs and gives back results; it writes no record."""
