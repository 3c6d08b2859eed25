"""The requests that are simulated: from a file, or made up by seed. Bounds how many there are, and how long they go on."""

from collections.abc import Sequence
from itertools import takewhile
from pathlib import Path

from configs import given_files
from deployments.simulation.loads.generated import Lengths, UnknownLoad, load
from deployments.simulation.loads.readers import UnreadableTrace, requests
from deployments.simulation.loads.traces import Traced, spread

#: A trace's file is at most so large; a load has at most so many requests, and lasts at most so long.
MOST_MIB, MOST_REQUESTS, MOST_S = 512, 2_000_000, 31 * 86_400.0


class CannotRead(ValueError):
    """The requests cannot be had; the message says why and what to do."""


def from_file(path: Path, first_s: float | None) -> tuple[list[Traced], float]:
    """Returns the requests of a file, and when the load ends. Those that the file has at one instant are spread until the next one.

    Raises:
        CannotRead: it cannot be opened, is no trace, or too large a one.
    """
    try:
        data = given_files.contents(path, MOST_MIB << 20)
    except given_files.CannotRead as error:
        raise CannotRead(f"--trace {path} cannot be read: {error}") from error
    if len(data) > MOST_MIB << 20:
        raise CannotRead(f"--trace {path} is larger than {MOST_MIB} MiB: take a part of it")
    try:
        found = spread(requests(data))
    except UnreadableTrace as error:
        raise CannotRead(f"--trace {path}: {error}") from error
    return _bounded(found, found[-1].at_s, first_s, "--trace")


def made_up(text: str, lengths: Lengths, seed: int, first_s: float | None) -> tuple[list[Traced], float]:
    """Returns the requests that a text describes, and when the load ends.

    Raises:
        CannotRead: it describes none, or too many.
    """
    try:
        described = load(text, lengths, seed)
    except UnknownLoad as error:
        raise CannotRead(f"--load {error}") from error
    until_s = min(described.until_s, first_s or described.until_s)
    if until_s > MOST_S:
        raise CannotRead(f"--load {text} lasts longer than 31 days: shorten it, or take its begin with --first-s")
    if described.count(until_s) > MOST_REQUESTS:
        raise CannotRead(f"--load {text} has more than {MOST_REQUESTS:,} requests: lower its rates, or take its begin with --first-s")
    return _bounded(list(takewhile(lambda one: one.at_s < until_s, described.requests(seed))), until_s, first_s, "--load")


def _bounded(found: Sequence[Traced], until_s: float, first_s: float | None, option: str) -> tuple[list[Traced], float]:
    until_s = min(until_s, first_s or until_s)
    kept = [one for one in found if one.at_s <= until_s]
    if not kept:
        raise CannotRead(f"{option} has no request: there is nothing to simulate")
    if until_s <= 0:
        raise CannotRead(f"{option} has all its requests at one instant: a load lasts for some time, so give them times of their own")
    if len(kept) > MOST_REQUESTS or until_s > MOST_S:
        raise CannotRead(f"{option} has more than {MOST_REQUESTS:,} requests, or lasts longer than 31 days: take its begin with --first-s")
    return kept, until_s
