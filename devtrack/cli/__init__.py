"""The command line: thin commands over the library.

Data goes to stdout and everything else to stderr. Exit codes: 0 done, 1 our error in one line,
2 wrong usage, 3 nothing found. Each command imports what it needs in its own body, so that
``devtrack sql`` does not wait for torch.
"""

from devtrack.cli.app import app, main

__all__ = ["app", "main"]
