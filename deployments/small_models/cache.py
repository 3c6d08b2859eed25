"""A directory of built models in which a directory that has its name is complete.

Decides when a model must be built, by whom, and when it counts as there: it is built under another name and renamed, under a lock.
The lock and the rename are the kernel's, so nothing that dies leaves either behind. Leaves what a model is made of to its builder, and
models that no version names any more to whoever owns the disk: a running engine may still be reading them.
"""

import fcntl
import hashlib
import logging
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import IO

logger = logging.getLogger(__name__)


class SmallModelError(ValueError):
    """A small model that cannot be had, with what to do about it."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a model is made, and what its result depends on."""

    name: str
    #: To be raised whenever `build` would make something else of the same packages.
    version: int
    #: Room it takes on disk, rounded up.
    size_bytes: int
    #: Distributions whose versions shape the result, each with what follows `pip install` to get it.
    packages: Mapping[str, str]
    build: Callable[[Path], None]


def obtain(recipe: Recipe, root: Path) -> Path:
    """The model's directory below `root`, built first unless it is there."""
    target = place(recipe, root)
    if target.is_dir():
        return target
    try:
        root.mkdir(parents=True, exist_ok=True)
        with _locked(root / f".{recipe.name}.lock") as lock:
            if not target.is_dir():  # whoever held the lock before may have built it
                _build(recipe, target, Path(lock.name).stat().st_mode)
    except OSError as error:
        raise SmallModelError(
            f"{recipe.name} could not be built in {root} ({root_cause(error)}); it needs {_megabytes(recipe.size_bytes)} "
            "there and permission to write: name another directory in HERD_CACHE"
        ) from error
    return target


def place(recipe: Recipe, root: Path) -> Path:
    """The model's directory below `root`, whether it is there or not."""
    return root / f"{recipe.name}-{fingerprint(recipe)}"


def fingerprint(recipe: Recipe) -> str:
    """Names what the recipe makes with the packages installed now: another version of either is another model."""
    ingredients = [f"{recipe.name} {recipe.version}"]
    for package, installed_by in sorted(recipe.packages.items()):
        try:
            ingredients.append(f"{package}=={version(package)}")
        except PackageNotFoundError:
            raise SmallModelError(
                f"{recipe.name} is built from the Python package {package}, which is missing: pip install {installed_by}"
            ) from None
    return hashlib.sha256("\n".join(ingredients).encode()).hexdigest()[:12]


def root_cause(error: BaseException) -> str:
    """Returns the words of an error's first cause: the outer ones only say that something did not work."""
    while error.__cause__ is not None:
        error = error.__cause__
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _build(recipe: Recipe, target: Path, mode: int) -> None:
    _discard_unfinished(recipe, target.parent)
    free = shutil.disk_usage(target.parent).free
    if free < recipe.size_bytes:
        raise OSError(f"only {_megabytes(free)} are free")
    staging = target.with_name(f".{target.name}.unfinished")
    staging.mkdir()
    logger.info("building %s in %s", recipe.name, target.parent)
    try:
        recipe.build(staging)
        for path in filter(Path.is_file, staging.rglob("*")):
            # safetensors makes files that only their owner can read; an engine may run as somebody else.
            path.chmod(mode)
        staging.rename(target)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _discard_unfinished(recipe: Recipe, root: Path) -> None:
    """Removes what builds of this model that were killed have left, of whatever version. Only under the model's lock."""
    for leftover in root.glob(f".{recipe.name}-*.unfinished"):
        shutil.rmtree(leftover)


@contextmanager
def _locked(path: Path) -> Iterator[IO[str]]:
    # Never removed: a process that waits for a file which is then unlinked would hold a lock that nobody else sees.
    with path.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            logger.info("waiting for the process that holds %s", path)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield lock


def _megabytes(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:.0f} MB"
