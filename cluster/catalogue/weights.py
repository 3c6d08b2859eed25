"""Weights on their way to the nodes: what a model needs from the Hub, which files of it, on which nodes, and who gets them from whom.

Decides all of that from values. What asks the Hub, moves bytes and looks at disks is in `deployments.weights`.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Annotated, Any, TypeVar

from pydantic import Field, StringConstraints, field_validator

from configs.names import Accelerator
from configs.strict import Strict

#: The Hub's own rules for a repository's name, and for a branch, a tag or a commit.
REPOSITORY = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,95}(/[A-Za-z0-9_][A-Za-z0-9._-]{0,95})?")
REVISION = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._/-]{0,250}")
COMMIT = re.compile(r"[0-9a-f]{40}")
DEFAULT_REVISION = "main"

#: Formats of vLLM's that read no weights from the node's disk.
NOT_FROM_DISK = ("dummy", "runai_streamer", "runai_streamer_sharded", "tensorizer")
#: Folders of a repository that are for others than vLLM: Meta's own format is `original`, and as large as all the rest.
FOR_OTHERS = ("original", "metal", "onnx", "openvino", "coreml", "gguf", "assets")
#: What an engine reads beside weights: configs, tokenizers, chat templates. Never code.
BESIDE_WEIGHTS = (".json", ".jinja", ".model", ".tiktoken", ".txt")

#: Nodes that get each file from the same one. Two keep the tree flat; where the network is the narrowest place, one chain would be as fast.
FAN_OUT = 2

_N = TypeVar("_N")


@dataclass(frozen=True, slots=True)
class Source:
    """A repository of the Hub at a revision, and the cache that it goes to."""

    repository: str
    revision: str = DEFAULT_REVISION
    cache: str | None = None
    """A folder in the layout of the Hub's own cache. None: the node's, by HF_HOME."""

    def __str__(self) -> str:
        return self.repository if self.revision == DEFAULT_REVISION else f"{self.repository}@{self.revision}"

    @property
    def pinned(self) -> bool:
        """A commit never changes: the Hub need not be asked what it is."""
        return COMMIT.fullmatch(self.revision) is not None


def source_of(checkpoint: str, revision: str | None = None, cache: str | None = None) -> Source | None:
    """Returns a checkpoint's name on the Hub, `repository` or `repository@revision`; none for a path, another store or one built here."""
    repository, mark, own = checkpoint.partition("@")
    wanted = own if mark else revision or DEFAULT_REVISION
    if not REPOSITORY.fullmatch(repository) or not REVISION.fullmatch(wanted) or ".." in wanted:
        return None
    return Source(repository, wanted, cache)


def sources_of(checkpoint: str, engine: Mapping[str, Any]) -> dict[str, Source]:
    """Everything that an engine takes from the Hub, by where its arguments say so.

    Args:
        checkpoint: the model entry's.
        engine: vLLM's arguments.

    Returns:
        Sources under `checkpoint`, `tokenizer` and `draft` (the model that speculates).
    """
    if engine.get("load_format") in NOT_FROM_DISK:
        return {}
    cache, draft = engine.get("download_dir"), engine.get("speculative_config")
    draft = draft if isinstance(draft, Mapping) else {}
    named = {
        "checkpoint": (checkpoint, engine.get("revision")),
        "tokenizer": (engine.get("tokenizer"), engine.get("tokenizer_revision")),
        "draft": (draft.get("model"), draft.get("revision")),
    }
    found = {field: source_of(str(name), revision, cache) for field, (name, revision) in named.items() if name}
    return {field: source for field, source in found.items() if source is not None}


class File(Strict):
    """One file of a repository."""

    path: str = Field(min_length=1, max_length=1024)
    size_bytes: int = Field(ge=0)
    digest: Annotated[str, StringConstraints(pattern=r"^([0-9a-f]{40}|[0-9a-f]{64})$")] = Field(
        description="What the Hub names the content by: SHA-256 of a large file, git's SHA-1 of a small one."
    )

    @field_validator("path")
    @classmethod
    def _stays_inside(cls, value: str) -> str:
        parts = PurePosixPath(value).parts
        if value.startswith("/") or ".." in parts or "\\" in value or "\0" in value:
            raise ValueError(f"{value!r} is no path inside a repository")
        return value


class Manifest(Strict):
    """A revision as it was when the Hub was asked, with its files' digests; kept beside the files, so a later check needs no network."""

    repository: str
    revision: str
    commit: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{40}$")]
    resolved_s: float = Field(description="When the Hub was asked, in seconds since 1970.")
    files: tuple[File, ...]

    @property
    def size_bytes(self) -> int:
        """Of all files; files of the same content are there once."""
        return sum({file.digest: file.size_bytes for file in self.files}.values())


def wanted(files: Iterable[File]) -> tuple[File, ...]:
    """The files of a repository that an engine reads, in the order of their paths.

    Weights are safetensors in Hugging Face's layout; else Mistral's `consolidated` ones; else PyTorch's. A repository may hold all three.
    """
    useful = [file for file in files if PurePosixPath(file.path).parts[0] not in FOR_OTHERS]
    beside = [file for file in useful if file.path.endswith(BESIDE_WEIGHTS)]
    return tuple(sorted([*beside, *_weights(useful)], key=lambda file: file.path))


def _weights(files: Sequence[File]) -> list[File]:
    safe = [file for file in files if file.path.endswith(".safetensors")]
    plain = [file for file in safe if not PurePosixPath(file.path).name.startswith("consolidated")]
    torch = [file for file in files if PurePosixPath(file.path).name.startswith("pytorch_model") and file.path.endswith(".bin")]
    return plain or safe or torch


def newest(manifests: Iterable[Manifest | None]) -> Manifest | None:
    """The one that the Hub was asked for last."""
    return max((one for one in manifests if one is not None), key=lambda one: one.resolved_s, default=None)


@dataclass(frozen=True, slots=True)
class Node:
    """A node of the cluster."""

    id: str
    address: str
    resources: Mapping[str, float]


def may_serve(accelerator: Accelerator, nodes: Sequence[Node]) -> tuple[Node, ...]:
    """The nodes that an engine may come to; `auto` means those with GPUs where there are any."""
    with_gpu = tuple(node for node in nodes if node.resources.get("GPU", 0) > 0)
    with_cpu = tuple(node for node in nodes if node.resources.get("CPU", 0) > 0)
    match accelerator:
        case "cpu":
            return with_cpu
        case "gpu":
            return with_gpu
        case "auto":
            return with_gpu or with_cpu
        case _:
            return tuple(node for node in with_gpu if f"accelerator_type:{accelerator}" in node.resources)


def upstreams(order: Sequence[_N], holders: int) -> dict[_N, _N | None]:
    """From whom each node gets the files; a node gets a file as soon as the one before it has it, so all are busy at once.

    The first `holders` of the order have everything and get nothing; where there are none, the first gets all from the Hub. The others
    hang below them in a tree, each behind one that stands before it in the order. So whoever is taken out of the order, and whatever
    mixture of an older and a newer tree is followed for a moment, no two wait for each other.
    """
    roots = max(holders, 1)
    return {node: None if place < roots else order[(place - roots) // FAN_OUT] for place, node in enumerate(order)}


@dataclass(frozen=True, slots=True)
class Room:
    """A node's disk before a download."""

    folder: str
    needed_bytes: int
    free_bytes: int


def shortages(rooms: Mapping[str, Room]) -> list[str]:
    """A sentence for each node, by name, whose disk is too small for what it still lacks."""
    return [
        f"{name}: {size(room.needed_bytes)} are still to come to {room.folder}, {size(room.free_bytes)} are free there. "
        "Make room, or let HF_HOME in the environment of this node's Ray name a larger disk."
        for name, room in rooms.items()
        if room.needed_bytes > room.free_bytes
    ]


def size(count: float) -> str:
    """Bytes as people read them."""
    for unit, name in ((2**40, "TiB"), (2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB")):
        if count >= unit:
            return f"{count / unit:.1f} {name}"
    return f"{count:.0f} B"
