"""One change of a herd at a time: a lock in its folder on this machine, and in a cluster one that all operators see.

Decides whom a lock belongs to when its owner has died: the kernel gives a folder's lock back with its process, and Ray knows which programs
are still connected to a cluster, also when their host is gone.
"""

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path

from deployments.lifecycle.changing import rolls
from deployments.lifecycle.changing.rolls import Progress, Roll
from deployments.lifecycle.known import Herd, OperationError
from deployments.lifecycle.memory import InCluster
from deployments.progress import Say
from deployments.ray_calls import cluster_store, jobs

FILE = "roll.lock"
#: The change that is under way in a cluster, and the last one.
LOCK, LAST = "roll-lock.json", "roll-last.json"
#: Two operators who take over a dead one's lock at once: the later one has it, and each looks again after so long.
TAKEN_S = 1.0


def of_folder(folder: Path) -> int:
    """Takes the lock of a herd's folder; returns its file, which a child process may inherit, and the lock with it.

    Raises:
        OperationError: another process of this machine changes the herd.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    file = os.open(folder / FILE, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(file)
        raise rolls.begun(folder).refusal() from None
    return file


@contextlib.contextmanager
def in_cluster(herd: Herd, progress: Progress) -> Iterator[None]:
    """Holds the lock of the cluster that this process is connected to, with the steps of the change in it. A local herd's folder is enough.

    Raises:
        OperationError: another operator changes the herd; the message says who, and since when.
    """
    if herd.config.ray.address == "local":
        yield
        return
    job, memory = jobs.own(), InCluster()
    _take(progress.roll.model_copy(update={"job": job}), progress.say)
    progress.also_in(memory, LOCK, job)
    ended: dict[str, object] = {"ended": ""}
    try:
        yield
    except BaseException as error:
        ended = {"ended": str(error) or type(error).__name__, "interrupted": isinstance(error, KeyboardInterrupt)}
        raise
    finally:
        progress.no_more_in(memory, LOCK)
        memory.keep(LAST, progress.roll.model_copy(update=ended).model_dump_json())
        if (now := taken()) is not None and now.job == job:
            memory.forget(LOCK)


def taken() -> Roll | None:
    """Returns the change whose owner holds the cluster's lock, dead or alive."""
    return rolls.read(cluster_store.kept(LOCK))


def held() -> Roll | None:
    """Returns the change that is under way in the cluster; None if none is."""
    roll = taken()
    return roll if roll is not None and jobs.lives(roll.job) else None


def known(roll: Roll) -> Roll:
    """Returns what the cluster knows by now of a change that was under way, or how it ended."""
    for name in (LOCK, LAST, LOCK):  # it goes from the one to the other
        now = rolls.read(cluster_store.kept(name))
        if now is not None and now.job == roll.job:
            return now
    return roll


def _take(mine: Roll, say: Say) -> None:
    if cluster_store.keep_new(LOCK, mine.model_dump_json()):
        return
    other = taken()
    if other is not None and jobs.lives(other.job):
        raise OperationError(
            f"{other.refusal()} It runs on {other.host}: if that host is gone, Ray knows within a minute, and lets you go on."
        )
    if other is not None:
        say(other.left)
    cluster_store.keep(LOCK, mine.model_dump_json())
    time.sleep(TAKEN_S)
    now = taken()
    if now is None or now.job != mine.job:
        raise (now or mine).refusal()
