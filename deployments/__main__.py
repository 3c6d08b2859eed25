"""The entry of `herd`, and of `python -m deployments`.

Takes the words that hold for every command, wherever they stand: consoles look for them when they are made.
"""

import os
import sys
from collections.abc import Sequence

#: The environment variable that each of these words sets.
EVERYWHERE = {"--no-color": "NO_COLOR", "--quiet": "HERD_QUIET"}


def split(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Splits a command line into the words that hold for every command, and the others. Behind `--`, all are others."""
    end = words.index("--") if "--" in words else len(words)
    ours = [word for word in words[:end] if word in EVERYWHERE]
    return ours, [word for word in words[:end] if word not in EVERYWHERE] + list(words[end:])


def main() -> None:
    """Runs the command that the command line names."""
    ours, words = split(sys.argv[1:])
    os.environ.update({EVERYWHERE[word]: "1" for word in ours})
    from deployments.commands.main import main as command

    command(words)


if __name__ == "__main__":
    main()
