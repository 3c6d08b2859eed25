"""The processes of an engine replica, for who kills them."""

from typing import Any

import psutil

from tests.bench.process import listener
from tests.processes import descendants, words


def process_of(replica: dict[str, Any]) -> psutil.Process:
    """The replica's own process, of one that `/-/status` names: it holds the socket there."""
    return listener(int(replica["address"].rpartition(":")[2]))


def core_of(replica: dict[str, Any]) -> psutil.Process:
    """The engine inside it, which Ray Serve does not look at."""
    if not (found := [one for one in descendants(process_of(replica)) if "EngineCore" in words(one)]):
        raise LookupError(f"{replica['id']} has no engine core")
    return found[0]
