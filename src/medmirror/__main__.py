"""``python -m medmirror``: the same as the command ``medmirror``."""

from medmirror.cli import main

if __name__ == "__main__":
    main()
