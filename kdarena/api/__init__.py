"""kdarena in Python: what the commands do, as functions that give frames. The command line calls the same code."""
