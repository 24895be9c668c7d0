"""The command line, as ``python -m devtrack``."""

from devtrack.cli import main

if __name__ == "__main__":
    main()
