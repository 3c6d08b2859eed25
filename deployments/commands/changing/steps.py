"""Tells the steps of a change while it goes on, with the seconds since its start."""

import contextlib
import time
from collections.abc import Iterator

from deployments.commands.terminal import progress
from deployments.progress import Say


@contextlib.contextmanager
def steps() -> Iterator[Say]:
    """Tells each step with the seconds since the start; a step told again is not printed again."""
    started, last = time.monotonic(), [""]
    with progress.status("") as spinner:

        def say(step: str) -> None:
            if step != last[0]:
                progress.print(f"[dim]{time.monotonic() - started:5.1f} s[/dim]  {step}")
            last[0] = step
            spinner.update(f"{step} …")

        yield say
