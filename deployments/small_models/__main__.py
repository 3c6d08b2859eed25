"""`python -m deployments.small_models [--root DIR] NAME...`: builds models and prints where they are, one directory a line.

Progress and errors go to standard error, so that the output can be used as it is.
"""

import argparse
import logging
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path

from configs.load import environment
from deployments.small_models import NAMES, SmallModelError, ensure


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m deployments.small_models", description="Build small real models.")
    parser.add_argument("--root", type=Path, help="where to keep them (default: HERD_CACHE, else the user's cache directory)")
    parser.add_argument("names", nargs="+", metavar="NAME", help=", ".join(NAMES))
    options = parser.parse_args(arguments)
    _report_progress()
    try:
        for name in options.names:
            with redirect_stdout(sys.stderr):  # a library that prints must not be taken for a path
                directory = ensure(name, options.root or environment().models)
            sys.stdout.write(f"{directory}\n")
            sys.stdout.flush()
    except SmallModelError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


def _report_progress() -> None:
    logger = logging.getLogger("deployments.small_models")
    logger.addHandler(logging.StreamHandler())
    logger.setLevel(logging.INFO)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
