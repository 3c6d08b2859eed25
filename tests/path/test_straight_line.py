"""The way of a request through the code: from the edge to an engine's bytes in five files, one behind the other, and never back."""

import sys
from collections.abc import Iterator
from itertools import groupby
from types import FrameType
from typing import Any

import pytest

from deployments.wire.engine.connection import Connection
from tests.path.fake_engine import FakeEngine, answers
from tests.path.herd import Herd

pytestmark = pytest.mark.asyncio(loop_scope="session")

WAY = [
    "gateway/endpoints.py",
    "gateway/pipeline.py",
    "gateway/attempts.py",
    "wire/engine/client.py",
    "wire/engine/connection.py",
]


def files(frame: FrameType | None) -> Iterator[str]:
    """The files of `deployments` on the stack, the innermost first."""
    while frame is not None:
        before, _, name = frame.f_code.co_filename.rpartition("/deployments/")
        if before:
            yield name
        frame = frame.f_back


async def test_request_goes_through_five_files(herd: Herd, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    engine.script = answers(200, {"id": "1"})
    seen: list[list[str]] = []
    send = Connection.send

    def sends(connection: Connection, *request: bytes) -> Any:
        seen.append([name for name, _ in groupby(files(sys._getframe()))])
        return send(connection, *request)

    monkeypatch.setattr(Connection, "send", sends)
    assert (await herd.chat()).status_code == 200
    (way,) = seen
    edge = way.index("wire/client/listener.py")
    assert [*reversed(way[:edge]), "wire/engine/connection.py"] == WAY
