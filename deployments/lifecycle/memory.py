"""Remembers which herd is up, and which one last came up: with that, later commands find it, and a change that fails is undone.

Decides where. The herd of a cluster is remembered in the cluster, because several operators share it, and the home in a head's container
goes with the container. A herd on a Ray node of its own is remembered in its folder: it ends with that node.
"""

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from configs.schema import Config
from deployments.ray_calls import cluster_store

CONFIG = "config.json"
#: The config of the file that was brought up, and the changes by hand since (`policy.fleet.by_hand.DeclaredHerd`).
DECLARED = "declared.json"
CAME_UP = "came-up.json"
#: Where the values of the config come from, for `herd config show`.
PLACES = "places.json"
#: The herd that last was up with another file.
BEFORE = "came-up-before.json"
ALL = (CONFIG, DECLARED, CAME_UP, BEFORE, PLACES)


class Memory(Protocol):
    """A place for a few texts."""

    def keep(self, name: str, text: str) -> None:
        """Keeps a text, wholly or not at all."""

    def kept(self, name: str) -> str | None:
        """Returns a text; None if it is not there."""

    def forget(self, name: str) -> None:
        """Removes a text, if it is there."""


@dataclass(frozen=True, slots=True)
class InFolder:
    """A herd's own folder, in the home of one user."""

    folder: Path

    def keep(self, name: str, text: str) -> None:
        """Writes a file, wholly or not at all."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        half = self.folder / f"{name}.{os.getpid()}"
        half.write_text(text, encoding="utf-8")
        half.replace(self.folder / name)

    def kept(self, name: str) -> str | None:
        """Reads a file."""
        with contextlib.suppress(FileNotFoundError):
            return (self.folder / name).read_text(encoding="utf-8")
        return None

    def forget(self, name: str) -> None:
        """Removes a file."""
        (self.folder / name).unlink(missing_ok=True)


@dataclass(frozen=True, slots=True)
class InCluster:
    """The GCS of the Ray cluster that this process is connected to. There is one herd in a cluster: what is declared replaces the last."""

    def keep(self, name: str, text: str) -> None:
        """Keeps a text in the cluster."""
        cluster_store.keep(name, text)

    def kept(self, name: str) -> str | None:
        """Asks the cluster."""
        return cluster_store.kept(name)

    def forget(self, name: str) -> None:
        """Has the cluster forget a text."""
        cluster_store.forget(name)


def memory_of(config: Config, folder: Path) -> Memory:
    """Returns the place for the herd of this config; `folder` is its own one on this machine."""
    return InFolder(folder) if config.ray.address == "local" else InCluster()
