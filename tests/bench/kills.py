"""Engines are killed while they answer, and every answer is compared with what it should be: `python -m tests.bench.kills`.

First simulated engines, whose processes start in a second, under a crowd of streamed and whole answers; then real ones: two replicas of a
small model in float32 (in bfloat16 a token depends on who else is in the batch), whose process or engine core is killed in the middle of
four streams. Writes `results/kills.json`. Any request that fails, and any token that is wrong, is counted and shown.
"""

import argparse
import asyncio
import contextlib
import random
import tempfile
import time
import zlib
from collections.abc import Awaitable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import aiohttp
from rich.console import Console
from rich.table import Table

from configs.schema import Model
from deployments.progress import Say
from tests.bench import asking, report, servers
from tests.bench.asking import Answer, Failed, answered
from tests.bench.load import CannotMeasure
from tests.bench.process import Serving, free_port, serving
from tests.bench.simulated import live
from tests.bench.simulated.cluster import MODEL
from tests.bench.simulated.server import rendered, text_of, tokens_of
from tests.victims import core_of, process_of

RESULTS = Path(__file__).parent / "results" / "kills.json"
CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"
REPLICAS, CLIENTS = 4, 24
REAL_STREAMS, REAL_TOKENS = 4, 120
BACK_S = 300.0


@dataclass
class Tally(asking.Tally):
    """What came of it."""

    kills: int = 0
    under_way: int = 0
    """Requests that the killed engines had, in all."""
    took_s: float = 0

    def count(self, answer: Answer | BaseException, expected: Answer) -> None:
        """One request more."""
        self.requests += 1
        if isinstance(answer, BaseException):
            self.failed += 1
            self.complain(answer)
        elif answer != expected:
            self.wrong += 1
            self.complaints.append(f"{answer} instead of {expected}"[:300])


class _Engine:
    """A simulated replica that can be killed, and comes back on the same port."""

    def __init__(self, port: int) -> None:
        self.port = port
        self._stack = contextlib.ExitStack()
        self._serving: Serving | None = None

    def start(self) -> None:
        self._serving = self._stack.enter_context(serving("tests.bench.simulated.server", "--replicas", "1", "--port", str(self.port)))

    def kill(self) -> None:
        assert self._serving is not None
        self._serving.process.kill()
        self._stack.close()


async def simulated(kills: int, seed: int, say: Say) -> Tally:
    """Kills simulated engines, one at a time, under a crowd.

    Raises:
        CannotMeasure: something did not start.
    """
    tally, rng = Tally(), random.Random(seed)
    engines = [_Engine(free_port()) for _ in range(REPLICAS)]
    began = time.monotonic()
    with contextlib.ExitStack() as stack:
        for engine in engines:
            engine.start()
            stack.callback(engine.kill)
        url = stack.enter_context(live.our_gateway([engine.port for engine in engines], "herd", scale=1))
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http:
            over = asyncio.Event()
            crowd = [asyncio.create_task(_client(http, url, random.Random(f"{seed}/{one}"), over, tally)) for one in range(CLIENTS)]
            for number in range(kills):
                say(f"simulated: kill {number + 1} of {kills}; {tally.requests} answers, {tally.failed} failed, {tally.wrong} wrong")
                await asyncio.sleep(rng.uniform(0.5, 1.5))
                victim = rng.choice(engines)
                tally.under_way += await _running(http, victim.port)
                await asyncio.to_thread(victim.kill)
                tally.kills += 1
                await asyncio.to_thread(victim.start)
                await _ready(http, url, MODEL, REPLICAS)
            over.set()
            await asyncio.gather(*crowd)
    tally.took_s = time.monotonic() - began
    return tally


async def _client(http: aiohttp.ClientSession, url: str, rng: random.Random, over: asyncio.Event, tally: Tally) -> None:
    while not over.is_set():
        chat, stream = rng.random() < 0.7, rng.random() < 0.8
        tokens = rng.randint(16, 160 if stream else 48)  # a whole answer begins anew each time
        words = f"{rng.getrandbits(64):x} " * rng.randint(1, 200)
        prompt = {"messages": [{"role": "user", "content": words}]} if chat else {"prompt": words}
        body: dict[str, Any] = {"model": MODEL, "max_tokens": tokens, "temperature": 0, **prompt}
        if stream:
            body |= {"stream": True, "stream_options": {"include_usage": True}}
        expected = Answer(text_of(tokens_of(zlib.crc32(rendered(body)), 0, tokens)), tokens)
        tally.count(await _caught(answered(http, url + (CHAT if chat else COMPLETIONS), body)), expected)


async def _caught(answer: Awaitable[Answer]) -> Answer | BaseException:
    try:
        return await answer
    except (Failed, aiohttp.ClientError, TimeoutError) as error:
        return error


async def _running(http: aiohttp.ClientSession, port: int) -> int:
    async with http.get(f"http://127.0.0.1:{port}/-/load") as response:
        return int((await response.json())["ongoing"])


async def _replicas(http: aiohttp.ClientSession, url: str, model: str) -> list[dict[str, Any]]:
    async with http.get(f"{url}/-/status") as response:
        return [one for one in (await response.json())["models"][model] if one["state"] == "ready"]


async def _ready(http: aiohttp.ClientSession, url: str, model: str, count: int, killed: str = "") -> None:
    """Until so many are there, without the killed one, which a gateway that had no request on it misses only after seconds."""
    deadline = time.monotonic() + BACK_S
    while len([one for one in await _replicas(http, url, model) if one["id"] != killed]) < count:
        if time.monotonic() > deadline:
            raise CannotMeasure(f"{count} replicas of {model} were not there within {BACK_S:g} s")
        await asyncio.sleep(0.05)


def _small() -> Model:
    """Real words, exact whoever else is in the batch."""
    engine = {"enforce_eager": True, "dtype": "float32", "kv_cache_memory_bytes": 1 << 28, "max_num_seqs": 32}
    name = "smollm2-135m-instruct"
    return Model(id=name, kind="smollm2-135m", checkpoint=f"small:{name}", context_tokens=2048, replicas=2, engine=engine)


async def real(url: str, model: str, kills: int, tally: Tally, say: Say) -> None:
    """Kills real engines, in turn the replica's process and the engine core inside it.

    Raises:
        CannotMeasure: a killed engine did not come back.
    """
    began = time.monotonic()
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http:
        await _ready(http, url, model, 2)
        expected = [await answered(http, url + CHAT, _asked(model, number)) for number in range(REAL_STREAMS)]
        for number in range(kills):
            say(f"real: kill {number + 1} of {kills}; {tally.requests} answers, {tally.failed} failed, {tally.wrong} wrong")
            killed, answers = await _disturbed(http, url, model, number, tally)
            for answer, wanted in zip(answers, expected, strict=True):
                tally.count(answer, wanted)
            await _ready(http, url, model, 2, killed)
            tally.took_s = time.monotonic() - began


async def _disturbed(
    http: aiohttp.ClientSession, url: str, model: str, number: int, tally: Tally
) -> tuple[str, list[Answer | BaseException]]:
    """Kills the engine that has the most streams, in the middle of them; its id, and what became of the streams."""
    begun = asyncio.Semaphore(0)
    enough = 5 + 10 * (number % 5)  # another place in the answer each time

    async def stream(one: int) -> Answer | BaseException:
        pieces: list[str] = []

        def told(piece: str) -> None:
            pieces.append(piece)
            if len(pieces) == enough:
                begun.release()

        return await _caught(answered(http, url + CHAT, _asked(model, one), told))

    asked = [asyncio.create_task(stream(one)) for one in range(REAL_STREAMS)]
    for _ in asked:
        async with asyncio.timeout(BACK_S):
            await begun.acquire()
    victim = max(await _replicas(http, url, model), key=lambda one: one["ongoing"])
    (process_of if number % 2 == 0 else core_of)(victim).kill()
    tally.kills += 1
    tally.under_way += victim["ongoing"]
    return victim["id"], list(await asyncio.gather(*asked))


def _asked(model: str, number: int) -> dict[str, Any]:
    messages = [{"role": "user", "content": f"Count the llamas: {number}."}]
    own = {"model": model, "messages": messages, "max_tokens": REAL_TOKENS, "temperature": 0, "ignore_eos": True}
    return own | {"stream": True, "stream_options": {"include_usage": True}}


def main() -> None:
    """Kills, shows, writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--simulated", type=int, default=180, help="kills of simulated engines")
    parser.add_argument("--real", type=int, default=20, help="kills of real engines; each takes about a minute")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=RESULTS)
    asked = parser.parse_args()
    console = Console(width=140)
    tallies = {"simulated": asyncio.run(simulated(asked.simulated, asked.seed, console.log))}
    if asked.real:
        model = _small()
        with tempfile.TemporaryDirectory(prefix="llama-herd-bench-") as folder, servers.herd(Path(folder), console.log, (model,)) as url:
            tallies["real"] = Tally()
            with contextlib.suppress(KeyboardInterrupt):  # who has no more time keeps what there is
                asyncio.run(real(url, model.id, asked.real, tallies["real"], console.log))
    shown = Table("", "kills", "requests under way", "requests", "failed", "wrong")
    for name, tally in tallies.items():
        shown.add_row(name, *map(str, (tally.kills, tally.under_way, tally.requests, tally.failed, tally.wrong)))
    console.print(shown, *(complaint for tally in tallies.values() for complaint in tally.complaints[:5]), sep="\n")
    report.save(asked.out, report.about("tests.bench.kills") | {name: asdict(tally) for name, tally in tallies.items()})


if __name__ == "__main__":
    main()
