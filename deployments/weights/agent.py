"""The work on a node: look, ask the Hub, fetch, hand on, check. A Ray actor, one a node, that ends with whoever started it.

Decides nothing about other nodes: `spread` says from whom to get files, and may say another one in the middle.
"""

import asyncio
import time
from dataclasses import dataclass
from pathlib import Path

from cluster.catalogue.weights import Manifest, Room, Source
from configs.load import environment
from deployments.weights.cache import Cache, WeightsError, cache_of
from deployments.weights.files import Fetch
from deployments.weights.origins import FromHub, FromNode, Origin, resolve
from deployments.weights.server import FileServer


@dataclass(frozen=True, slots=True)
class Held:
    """The files of a source on a node. A pull that was broken off leaves what was whole before, for engines to start from."""

    known: Manifest | None = None
    """The source as it was when it was last pulled here."""
    whole: Manifest | None = None
    """The last of it that is whole."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a node is with a source."""

    arrived_bytes: int
    total_bytes: int


def held(source: Source, own: Path | None = None) -> Held:
    """Returns the files of a source on this node, without asking anybody."""
    cache = cache_of(source, own)
    known = cache.known(source)
    return Held(next(iter(known), None), next((one for one in known if cache.complete(one)), None))


@dataclass
class Agent:
    """A node's hands. Its methods are asked by Ray, several at a time; what takes long is done in threads."""

    host: str | None = None
    """The node's address. None: as Ray says."""
    own: Path | None = None
    """The node's cache. None: as HF_HOME says."""
    _server: FileServer | None = None
    _origin: Origin | None = None
    _address: str = ""

    def __post_init__(self) -> None:
        from huggingface_hub.utils import disable_progress_bars  # type: ignore[attr-defined]  # it is there, and loaded lazily

        disable_progress_bars()

    async def held(self, source: Source) -> Held:
        """See `held`."""
        return await asyncio.to_thread(held, source, self.own)

    async def resolve(self, source: Source) -> Manifest:
        """Returns the source as it is at the Hub now; see `origins.resolve`."""
        return await asyncio.to_thread(resolve, source, time.time())

    async def room(self, wanted: list[tuple[Source, Manifest]]) -> list[Room]:
        """Returns the bytes still needed and those free, for each cache."""
        caches = {cache.root: cache for cache in map(self._cache, (source for source, _ in wanted))}
        rooms = []
        for root in caches:
            parts = [self._cache(source).room([manifest]) for source, manifest in wanted if self._cache(source).root == root]
            rooms.append(Room(str(root), sum(part.needed_bytes for part in parts), parts[0].free_bytes))
        return rooms

    async def offer(self, source: Source, manifest: Manifest) -> str:
        """Hands these files on from now on; the address to ask.

        Raises:
            WeightsError: the node has no key to know its like by.
        """
        if self._server is None:
            self._server = FileServer(environment().key("weights"))
            self._address = await self._server.start(self.host or _node_address())
        self._server.offer(self._cache(source), manifest)
        return self._address

    async def follow(self, source: Source, manifest: Manifest, upstream: str | None) -> None:
        """Gets files from this address from now on; none is the Hub."""
        if upstream is None:
            self._origin = FromHub(self._cache(source), manifest)
        else:
            self._origin = FromNode(upstream, environment().key("weights").get_secret_value())

    async def fetch(self, source: Source, manifest: Manifest, upstream: str | None) -> list[str]:
        """Brings what is missing; the paths that arrived damaged and were fetched again.

        Raises:
            WeightsError: it could not.
        """
        await self.follow(source, manifest, upstream)
        fetch = Fetch(self._cache(source), manifest, self._whence)
        await asyncio.to_thread(fetch.run)
        return fetch.damaged

    def _cache(self, source: Source) -> Cache:
        return cache_of(source, self.own)

    def _whence(self) -> Origin:
        if self._origin is None:
            raise WeightsError("no source of files was given")
        return self._origin

    async def progress(self, source: Source, manifest: Manifest) -> Progress:
        """How far it is, by what is on the disk."""
        arrived = await asyncio.to_thread(self._cache(source).arrived_bytes, manifest)
        return Progress(arrived, manifest.size_bytes)

    async def damaged(self, source: Source) -> list[str] | None:
        """The files that are not what the manifest says, removed; none at all where nothing was pulled. Asks no network."""
        cache = self._cache(source)
        known = cache.known(source)
        return await asyncio.to_thread(cache.damaged, known[0]) if known else None

    async def path(self, source: Source, manifest: Manifest) -> str:
        """Where an engine finds the files."""
        return str(self._cache(source).snapshot(manifest.commit))


def _node_address() -> str:
    import ray

    address: str = ray.util.get_node_ip_address()
    return address
