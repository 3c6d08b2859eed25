"""A body that is taken for a request: counted over real sockets for every cut, and looked for in other clients' answers behind HAProxy."""

import asyncio
import json
from pathlib import Path

import pytest

from tests.hostile.haproxy import SEGMENT, behind_haproxy
from tests.path.fake_engine import WAIT_S, FakeEngine, Wire, answers
from tests.path.herd import CHAT, Herd, asking
from tests.path.wire import Wire as Client
from tests.path.wire import connected, request

pytestmark = pytest.mark.asyncio(loop_scope="session")

SMUGGLED = b"GET /v1/models/SMUGGLED HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n"
LAST = b"GET /v1/models HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n"
OFFER = ("connection: Upgrade", "upgrade: foo")


def chunked(*pieces: bytes) -> bytes:
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in (*pieces, b""))


#: A stream of bytes, and the statuses of its answers. An offer of another protocol ends its connection.
STREAMS = {
    "an offer in a chunk": (
        request(headers=("transfer-encoding: chunked",)) + chunked(b"a\r\nupgrade:zzz", b"12345678\r\n0\r\n\r\n" + SMUGGLED) + LAST,
        [400, 200],
    ),
    "an offer with a body": (request(SMUGGLED, headers=OFFER) + LAST, [400]),
    "a second request's offer with a body": (
        request(method="GET", path="/v1/models") + request(SMUGGLED, headers=OFFER) + LAST,
        [200, 400],
    ),
    "an offer with chunks": (request(headers=(*OFFER, "transfer-encoding: chunked")) + chunked(SMUGGLED) + LAST, [400]),
    "trailers": (
        request(headers=("transfer-encoding: chunked",)) + b"2\r\n{]\r\n0\r\ncontent-length: 50\r\nupgrade: h2c\r\n\r\n" + LAST,
        [400, 200],
    ),
}


async def statuses(port: int, pieces: list[bytes]) -> list[int]:
    """Of all answers on one connection."""
    async with connected(port) as client:
        for piece in pieces:
            await client.send(piece)
            await asyncio.sleep(0.02)
        said = await client.rest()
    return [int(one[:3]) for one in said.split(b"HTTP/1.1 ")[1:]]


@pytest.mark.parametrize("name", STREAMS)
async def test_every_cut_of_a_stream_has_the_same_answers(herd: Herd, name: str) -> None:
    data, expected = STREAMS[name]
    for begin in range(0, len(data), 64):
        cuts = range(begin, min(begin + 64, len(data)))
        found = await asyncio.gather(*(statuses(herd.port, [data[:cut], data[cut:]]) for cut in cuts))
        assert found == [expected] * len(cuts)


class Echo:
    """An engine that answers with what it was asked; the attacker's question takes a while, so that another client waits behind it."""

    async def __call__(self, wire: Wire) -> None:
        content = wire.received.json["messages"][0]["content"]
        if content == "attack":
            await asyncio.sleep(0.3)
        await answers(200, {"id": "1", "echo": content})(wire)


class Victims:
    """Clients that ask one after the other on connections that they keep."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.foreign: list[bytes] = []
        self.asked = 0
        self.stopped = False

    async def __call__(self, name: str) -> None:
        while not self.stopped:
            async with connected(self._port) as client:
                kept = True
                while kept and not self.stopped:
                    kept = await self._asks(client, f"{name}-{self.asked}")
                    await asyncio.sleep(0.01)

    async def _asks(self, client: Client, content: str) -> bool:
        self.asked += 1
        body = asking() | {"messages": [{"role": "user", "content": content}]}
        try:
            await client.send(request(body, headers=("x-victim: 1",)))
            status, headers, said = await client.answer()
        except (asyncio.IncompleteReadError, ConnectionError):
            return False  # an attacker may cost others a connection, but no foreign answer
        if status < 500 and (status, said) != (200, json.dumps({"id": "1", "echo": content}).encode()):
            self.foreign.append(said)
        return headers.get("connection") != "close"


def attack(pad: int) -> list[bytes]:
    """A request with a body in two chunks. A reader that takes the offer out of the first chunk finds another request in the second."""
    offer = b"\r\nupgrade:zz"
    head = request(headers=("transfer-encoding: chunked", "x-pad: " + "p" * pad))
    first = b"y" * 8 + offer
    question = asking() | {"messages": [{"role": "user", "content": "attack"}]}
    rest = request(b"\r\n0\r\n\r\n", path="/v1/none")[:-7]  # the end of the real body is this one's body
    inside = b"\r\n0\r\n\r\n" + request(question) + rest
    # As many bytes as were taken out are read instead: a line break, the second chunk's size (three digits), and these.
    second = b"x" * (len(offer) - len(b"\r\n123\r\n")) + inside
    return [head + b"%x\r\n%b\r\n" % (len(first), first), b"%x\r\n%b\r\n" % (len(second), second) + b"0\r\n\r\n"]


async def attacked(port: int, pad: int) -> None:
    async with connected(port) as client:
        for part in attack(pad):
            await client.send(part)
            await asyncio.sleep(0.05)
        async with asyncio.timeout(WAIT_S):
            await client.reader.read(1 << 16)


async def test_no_client_behind_haproxy_gets_an_answer_that_another_one_chose(herd: Herd, engine: FakeEngine, tmp_path: Path) -> None:
    engine.script = Echo()
    async with behind_haproxy(herd.port, tmp_path) as (port, segments):
        victims = Victims(port)
        running = [asyncio.create_task(victims(f"victim-{number}")) for number in range(6)]
        await attacked(port, 1000)
        # Now it is known what HAProxy adds to a head: it shall end one byte behind a segment.
        pad = (1000 + SEGMENT + 1 - segments.heads[-1]) % SEGMENT
        for off in (0, 0, 0, -1, 1, 0):
            await attacked(port, pad + off)
        victims.stopped = True
        async with asyncio.timeout(WAIT_S):
            await asyncio.gather(*running)
    assert {(head - 1) % SEGMENT for head in segments.heads} >= {0}, "the cut that an attacker needs was made"
    assert victims.asked > 50
    assert victims.foreign == []
    assert all(b"SMUGGLED" not in one.body for one in engine.requests)
    assert CHAT in {one.path for one in engine.requests}
    contents = [one.json["messages"][0]["content"] for one in engine.requests]
    assert "attack" not in contents, "a body was served as a request"
