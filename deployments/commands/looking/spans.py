"""The option `--since` of the commands that look back, and times as they print them."""

import time
from datetime import UTC, datetime
from typing import Annotated

import typer

from deployments.policy.records.spans import seconds_of

Since = Annotated[str | None, typer.Option("--since", help="Only what is not older than this: 90s, 10m, 2h or 1d.")]


def began(since: str | None) -> float:
    """Returns the time, in seconds since 1970, from which on is looked; 0 where none is named.

    Raises:
        typer.BadParameter: it is no span of time.
    """
    if since is None:
        return 0.0
    try:
        return time.time() - seconds_of(since)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--since") from None


def clock(when: float) -> str:
    """Returns a time of this machine's zone, as a person reads it: `2026-11-28 17:28:04`."""
    return datetime.fromtimestamp(when).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def iso(when: float) -> str:
    """Returns a time in UTC, for scripts."""
    return datetime.fromtimestamp(when, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
