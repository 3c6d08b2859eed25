"""The load: a process of its own that asks a server for chat completions, and says in one line of JSON how that went.

Decides what an answer is worth: only one that is whole counts. It reads nothing of an answer before its end, for on a small machine it
stands on the same cores as what it measures; where the system lets it, it also goes before that, as if it stood on another machine.
"""

import asyncio
import json
import os
import re
import statistics
import subprocess
import sys
import time
from dataclasses import asdict, dataclass

import aiohttp

CHAT = "/v1/chat/completions"
#: A measurement takes seconds, on a busy machine tens of them; one that takes so long hangs.
LONGEST_S = 300
#: One token in a streamed answer; the event that states the usage has no choice in it.
CHUNK = b'"choices":[{'
GENERATED = re.compile(rb'"completion_tokens": ?(\d+)')


class CannotMeasure(RuntimeError):
    """There is no figure; the message says why."""


@dataclass(frozen=True, slots=True)
class Load:
    """What is asked of a server."""

    url: str
    model: str
    requests: int
    concurrency: int
    tokens: int
    stream: bool = True
    warm_up: int = 1
    """Requests before those that count."""
    salt: str = ""
    """Stands in every prompt, so that no two loads ask the same."""
    ahead: bool = False
    """Before all else on its cores. The kernel shares cores out by sessions, and a vLLM engine spins: a client in another session was kept
    waiting for up to a second, with its tokens there."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How it went."""

    requests: int
    took_s: float
    tokens_per_s: float
    chunks: int
    first_p50_ms: float
    """Time to the first piece of an answer: of a stream, to the first token."""
    first_p99_ms: float
    ahead: bool
    """The system let it go before all else."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer."""

    first_s: float
    tokens: int
    chunks: int


def run(load: Load) -> Outcome:
    """Runs a load in a process of its own.

    Raises:
        CannotMeasure: not every request was answered whole.
    """
    command = [sys.executable, "-m", "tests.bench.load", json.dumps(asdict(load))]
    try:
        ran = subprocess.run(command, capture_output=True, text=True, timeout=LONGEST_S, check=False)
    except subprocess.TimeoutExpired as error:
        raise CannotMeasure(f"{load.url} did not answer {load.requests} requests within {LONGEST_S} s") from error
    if ran.returncode:
        raise CannotMeasure(f"{load.url}: {(ran.stderr.strip().splitlines() or ['the load ended without a word'])[-1]}")
    return Outcome(**json.loads(ran.stdout))


async def answered(load: Load) -> Outcome:
    """Runs a load in this process."""
    ahead = load.ahead and _goes_ahead()
    gate = asyncio.Semaphore(load.concurrency)

    async def one(number: int) -> Answer:
        async with gate:
            return await _asked(session, load, number)

    connector, longest = aiohttp.TCPConnector(limit=0), aiohttp.ClientTimeout(LONGEST_S)
    async with aiohttp.ClientSession(connector=connector, timeout=longest) as session:
        await asyncio.gather(*(one(-1 - number) for number in range(load.warm_up)))
        began = time.perf_counter()
        answers = await asyncio.gather(*(one(number) for number in range(load.requests)))
        return _summed(answers, time.perf_counter() - began, ahead)


async def _asked(session: aiohttp.ClientSession, load: Load, number: int) -> Answer:
    pieces: list[bytes] = []
    began = first = time.perf_counter()
    async with session.post(load.url + CHAT, json=_body(load, number)) as response:
        async for piece in response.content.iter_any():
            if not pieces:
                first = time.perf_counter()
            pieces.append(piece)
    whole = b"".join(pieces)
    tokens = sum(int(count) for count in GENERATED.findall(whole))
    if response.status != 200 or tokens != load.tokens:
        raise CannotMeasure(f"answered {response.status} with {tokens} tokens instead of {load.tokens}: {whole[-200:]!r}")
    return Answer(first - began, tokens, whole.count(CHUNK))


def _body(load: Load, number: int) -> dict[str, object]:
    """Prompts of one length, none twice."""
    body: dict[str, object] = {
        "model": load.model,
        "messages": [{"role": "user", "content": f"{load.salt} {number:06d} Tell me about llamas."}],
        "max_tokens": load.tokens,
        "temperature": 0,
        "ignore_eos": True,
    }
    return body | ({"stream": True, "stream_options": {"include_usage": True}} if load.stream else {})


def _goes_ahead() -> bool:
    """Gives this process a priority that preempts. Only root may, or who was given the right; only Linux has the call."""
    try:
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    except (AttributeError, PermissionError):
        return False
    return True


def _summed(answers: list[Answer], took_s: float, ahead: bool) -> Outcome:
    firsts = sorted(answer.first_s for answer in answers)
    return Outcome(
        requests=len(answers),
        took_s=took_s,
        tokens_per_s=sum(answer.tokens for answer in answers) / took_s,
        chunks=sum(answer.chunks for answer in answers),
        first_p50_ms=statistics.median(firsts) * 1e3,
        first_p99_ms=firsts[int(len(firsts) * 0.99)] * 1e3,
        ahead=ahead,
    )


if __name__ == "__main__":
    print(json.dumps(asdict(asyncio.run(answered(Load(**json.loads(sys.argv[1])))))))
