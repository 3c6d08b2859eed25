"""What fake engines answer when gateways ask for their load: production's own reports, over a connection of the fake's own."""

import asyncio

from deployments.engine.load_reports import LoadReports
from deployments.policy.routing import load_query
from tests.wire_format import chunk

_WHOLE = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b"
_STREAM = b"HTTP/1.1 200 OK\r\ncontent-type: application/x-ndjson\r\ntransfer-encoding: chunked\r\n\r\n"
#: Answers that are being given.
_OPEN: set[asyncio.Task[None]] = set()


def answer(reports: LoadReports, query: bytes, transport: asyncio.Transport) -> None:
    """Answers a question for the load, in a task of its own."""
    task = asyncio.get_running_loop().create_task(_answer(reports, query, transport))
    _OPEN.add(task)
    task.add_done_callback(_OPEN.discard)


async def _answer(reports: LoadReports, query: bytes, transport: asyncio.Transport) -> None:
    asked = load_query.read(query)
    reports.learn(asked)
    if not asked.every_s:
        body = await reports.whole(asked.after)
        transport.write(_WHOLE % (len(body), body))
        return

    async def say(line: bytes) -> None:
        transport.write(chunk(line))

    transport.write(_STREAM)
    await reports.stream(asked, say, transport.is_closing)
