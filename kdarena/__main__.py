"""``python -m kdarena``: the command line."""

from kdarena.cli import main

if __name__ == "__main__":
    main()
