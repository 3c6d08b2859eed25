"""The processes of an engine replica, for who kills them."""

import contextlib
from typing import Any

import psutil

from tests.bench.process import listener


def process_of(replica: dict[str, Any]) -> psutil.Process:
    """The replica's own process, of one that `/-/status` names: it holds the socket there."""
    return listener(int(replica["address"].rpartition(":")[2]))


def core_of(replica: dict[str, Any]) -> psutil.Process:
    """The engine inside it, which Ray Serve does not look at."""
    for one in process_of(replica).children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):  # those that compile come and go
            if "EngineCore" in one.name():
                return one
    raise LookupError(f"{replica['id']} has no engine core")
