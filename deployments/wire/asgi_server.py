"""A running HTTP server: uvicorn in a task of the process's own event loop, on a socket that is listened on already.

Decides how long connections are kept. What is served, and by which protocol, is the caller's.
"""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Iterator
from typing import Any, cast

import uvicorn

#: A connection waits so long for its next request; longer than common load balancers do, so that they are the ones who close.
KEEP_ALIVE_S = 75


class _Uvicorn(uvicorn.Server):  # type: ignore[misc]
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leaves them to the process, whose other servers may outlive this one."""
        yield


class Server:
    """A running HTTP server: uvicorn in a task of this event loop."""

    def __init__(
        self,
        app: Any,  # noqa: ANN401 (an ASGI app, or what the protocol takes)
        listener: socket.socket,
        protocol: type[asyncio.Protocol] | str,
        stop_s: float,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        config = uvicorn.Config(
            app,
            http=cast(Any, protocol),
            ws="none",
            lifespan="off",
            log_config=None,  # configuring logging anew would take Ray Serve's handlers away from under it
            access_log=False,
            server_header=False,
            proxy_headers=False,  # nobody here asks where a client is
            ssl_context_factory=None if tls is None else lambda config, default: tls,
            timeout_keep_alive=KEEP_ALIVE_S,
            timeout_graceful_shutdown=cast(Any, stop_s),
        )
        self._server = _Uvicorn(config)
        self._task = asyncio.get_running_loop().create_task(self._server.serve(sockets=[listener]))

    @property
    def alive(self) -> bool:
        """It has not stopped by itself."""
        return not self._task.done()

    async def stop(self) -> None:
        """Takes no new connections, and ends when those it has are done or the time for that is over."""
        self._server.should_exit = True
        await asyncio.gather(self._task, return_exceptions=True)
