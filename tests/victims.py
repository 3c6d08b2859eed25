"""The processes of an engine replica, for who kills them."""

from typing import Any

import psutil


def process_of(replica: dict[str, Any]) -> psutil.Process:
    """The replica's own process, of one that `/-/status` names: it holds the socket there."""
    port = int(replica["address"].rpartition(":")[2])
    listening = [one for one in psutil.net_connections("tcp") if one.status == psutil.CONN_LISTEN and one.laddr[1:] == (port,)]
    return psutil.Process(listening[0].pid)


def core_of(replica: dict[str, Any]) -> psutil.Process:
    """The engine inside it, which Ray Serve does not look at."""
    return next(one for one in process_of(replica).children(recursive=True) if "EngineCore" in one.name())
