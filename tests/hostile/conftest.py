"""The gateway of `tests/path`, on the event loop of production."""

from tests.path.conftest import _all_stop, engine, herd, limited, pytest_asyncio_loop_factories

__all__ = ["_all_stop", "engine", "herd", "limited", "pytest_asyncio_loop_factories"]
