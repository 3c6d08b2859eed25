"""Whether this machine has what a herd on it needs: room on its disks and in its shared memory, and the files that the config names.

Decides how much room is too little. Each fault is a sentence with the way out; without them it would show minutes later, as another one.
"""

import shutil
from collections.abc import Iterator
from pathlib import Path

from configs.doorway import Tls
from configs.schema import Config
from deployments.weights.checkpoint_folder import why_no_checkpoint
from deployments.wire.client.certificate import Certificate
from deployments.wire.key_pair import UnusableFiles

#: Ray's logs and sockets. Ray itself works on a disk without room, and loses its logs there.
LEAST_FREE_BYTES = 512 << 20
SHM = Path("/dev/shm")


def no_room(folders: tuple[Path, ...], object_store_mib: int) -> Iterator[str]:
    """Yields a sentence for each place that has too little room for a Ray node.

    Args:
        folders: that the node writes to.
        object_store_mib: what it keeps in shared memory.
    """
    for folder in folders:
        there = next(one for one in (folder, *folder.parents) if one.exists())
        free = shutil.disk_usage(there).free
        if free < LEAST_FREE_BYTES:
            yield f"The disk of {there} is full: {_mib(free)} are free, and Ray's logs and sockets go there. Make room on it."
    free = shutil.disk_usage(SHM).free if SHM.exists() else object_store_mib << 20
    if free < object_store_mib << 20:
        yield (
            f"Too little shared memory: {_mib(free)} are free in {SHM}, and Ray's object store takes {object_store_mib} MiB "
            "(ray.object_store_mib). Remove files there; a container has as much as its --shm-size says."
        )


def unusable_files(config: Config) -> Iterator[str]:
    """Yields a sentence for each file or folder of a config that cannot be used here, where its engines and its gateway will run."""
    for model in config.models:
        if why := why_no_checkpoint(model.checkpoint):
            yield f"checkpoint of '{model.id}': {why}"
    if config.gateway.tls is not None and (why := _why_no_certificate(config.gateway.tls)):
        yield why


def _why_no_certificate(files: Tls) -> str:
    try:
        Certificate(files)
    except UnusableFiles as error:
        return str(error)
    return ""


def _mib(count: int) -> str:
    return f"{count / 2**20:,.0f} MiB"
