"""Where the command begins: loading it takes a moment in which Ctrl-C must be as quiet as later."""

from __future__ import annotations

import sys

INTERRUPTED = 130  # what shells expect


def main() -> None:
    """Run the command line."""
    try:
        from ragstone.cli.main import run

        run()
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
