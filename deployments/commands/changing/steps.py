"""Tells the steps of a change while it goes on, with the seconds since its start."""

import contextlib
import time
from collections.abc import Iterator

from rich.text import Text

from deployments.commands.terminal import progress, put
from deployments.progress import Say


@contextlib.contextmanager
def steps() -> Iterator[Say]:
    """Tells each step with the seconds since the start; a step told again is not printed again."""
    started, last = time.monotonic(), [""]
    with progress.status("") as spinner:

        def say(step: str) -> None:
            if step != last[0]:
                put(progress, Text.assemble((f"{time.monotonic() - started:5.1f} s", "dim"), f"  {step}"), " " * 11)
            last[0] = step
            spinner.update(Text(f"{step} …"))

        yield say
