"""`ray.serve.llm`'s server of one engine, with our names for what it keeps to itself. In a replica only: its import takes ten seconds.

Decides nothing. Ray Serve awaits a constructor and a `__del__` that are coroutines, which it does not document either.
"""

from collections.abc import Awaitable, Callable
from typing import Any

from ray.serve.llm.deployment import DPServer, LLMServer

#: One rank of data-parallel attention. Ray places the ranks of a replica together, tells each where the first is, and restarts all when one
#: fails.
Rank = DPServer


class EngineProcess(LLMServer):  # type: ignore[misc]
    """A server of one engine, to inherit from."""

    async def _start_engine(self) -> None:
        """Ray's, without its report of what is served: that waits for an actor on the head, which imports all of vLLM for it."""
        await self.engine.start()

    async def openai_app(self) -> Any:  # noqa: ANN401 (fastapi.FastAPI)
        """Returns vLLM's own app, which answers as `vllm serve` does."""
        build: Callable[[], Awaitable[Any]] = self.__serve_build_asgi_app__
        return await build()

    async def end_engine(self) -> None:
        """Ends the engine and its processes."""
        await super().__del__()

    @property
    def engine_client(self) -> Any:  # noqa: ANN401 (vllm.v1.engine.async_llm.AsyncLLM)
        """The serving side of vLLM; there once the engine has started."""
        return self.engine._engine_client  # noqa: SLF001 (Ray keeps it to itself)
