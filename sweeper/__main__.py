"""``python -m sweeper`` is the command ``sweep``."""

from sweeper.cli import main

if __name__ == "__main__":
    main()
