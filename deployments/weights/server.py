"""A node's files for other nodes: HTTP on the node's own address, for who knows the key for it, while a pull runs.

Decides from the digest in the path, by a table of what is offered: no path of a client's ever reaches the disk. A file that is still on its
way to this node is a 404; parts are given by `Range`, so a broken transfer goes on.
"""

import hmac

from aiohttp import web
from pydantic import SecretStr

from cluster.catalogue.weights import File, Manifest
from deployments.weights.cache import Cache
from deployments.wire.sockets import listen

#: Transfers that are stopped go on elsewhere by themselves: none is waited for longer.
_STOP_S = 0.1


class FileServer:
    """The files of some manifests, as far as they are here."""

    def __init__(self, key: SecretStr) -> None:
        self._expected = f"Bearer {key.get_secret_value()}".encode()
        self._offered: dict[str, tuple[Cache, File]] = {}
        self._runner: web.AppRunner | None = None

    def offer(self, cache: Cache, manifest: Manifest) -> None:
        """From now on these files are given to who asks."""
        self._offered |= {file.digest: (cache, file) for file in manifest.files}

    async def start(self, host: str) -> str:
        """Listens on a free port of an address; returns both.

        Raises:
            OSError: the address is not this machine's.
        """
        app = web.Application()
        app.router.add_get("/{digest}", self._answer)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=_STOP_S)
        await self._runner.setup()
        listener = listen(host, 0)
        await web.SockSite(self._runner, listener).start()
        return f"{host}:{listener.getsockname()[1]}"

    async def stop(self) -> None:
        """Ends every transfer."""
        if self._runner is not None:
            await self._runner.cleanup()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        if not hmac.compare_digest(request.headers.get("authorization", "").encode("utf-8", "surrogateescape"), self._expected):
            return web.Response(status=401)
        cache, file = self._offered.get(request.match_info["digest"], (None, None))
        if cache is None or file is None or not cache.holds(file):
            return web.Response(status=404)
        return web.FileResponse(cache.blob(file))
