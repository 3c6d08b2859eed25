"""One engine in a process of its own: starts vLLM, tells its memory as a replica would, and measures it at several numbers of users.

`python -m tests.bench.gpu_check.engine ARGUMENTS LEVELS PROMPT ANSWER`: vLLM's arguments in JSON, users as in 1,16,64, tokens of a prompt
and of an answer. What it prints is read by `tests.bench.gpu_check.said`.
"""

import asyncio
import json
import random
import statistics
import sys
import time
from dataclasses import asdict
from typing import Any

from deployments.engine.vllm import worker_memory
from deployments.engine.vllm.engine_state import EngineState
from tests.bench.gpu_check.said import MARK

#: Token ids of made-up prompts lie below: every model has so many.
VOCABULARY = 2000
#: Each user asks so often, one request after the other.
ROUNDS = 2


def say(what: str, **values: Any) -> None:
    """Prints a line for `said`."""
    print(MARK + json.dumps({"what": what, **values}), flush=True)


async def ask(engine: Any, prompt_tokens: int, answer_tokens: int, name: str) -> list[tuple[float, int]]:
    """Asks once for an answer of just so many tokens; returns when pieces of it came, and how many tokens each had."""
    from vllm import SamplingParams
    from vllm.sampling_params import RequestOutputKind

    numbers = random.Random(name)
    prompt = {"prompt_token_ids": [numbers.randrange(10, VOCABULARY) for _ in range(prompt_tokens)]}
    params = SamplingParams(
        temperature=0,
        max_tokens=answer_tokens,
        min_tokens=answer_tokens,
        ignore_eos=True,
        detokenize=False,
        output_kind=RequestOutputKind.DELTA,
    )
    return [
        (time.perf_counter(), len(piece.outputs[0].token_ids))
        async for piece in engine.generate(prompt, params, name)
        if piece.outputs[0].token_ids
    ]


async def level(engine: Any, users: int, prompt_tokens: int, answer_tokens: int) -> dict[str, Any]:
    """So many users at once, each asking again when it is answered."""
    first_s: list[float] = []

    async def user(number: int) -> int:
        tokens = 0
        for turn in range(ROUNDS):
            asked = time.perf_counter()
            pieces = await ask(engine, prompt_tokens, answer_tokens, f"{users}-{number}-{turn}")
            first_s.append(pieces[0][0] - asked)
            tokens += sum(count for _, count in pieces)
        return tokens

    began = time.perf_counter()
    tokens = sum(await asyncio.gather(*(user(number) for number in range(users))))
    took_s = time.perf_counter() - began
    return {"users": users, "tokens": tokens, "seconds": took_s, "tokens_s": tokens / took_s, "first_token_s": statistics.median(first_s)}


async def run(arguments: dict[str, Any], levels: list[int], prompt_tokens: int, answer_tokens: int) -> None:
    """Starts an engine, measures it, and ends it."""
    began = time.perf_counter()
    from vllm.engine.arg_utils import AsyncEngineArgs
    from vllm.v1.engine.async_llm import AsyncLLM

    engine = AsyncLLM.from_engine_args(AsyncEngineArgs(**arguments, worker_extension_cls=worker_memory.CLASS))
    try:
        state = EngineState(engine)
        started = await state.started()
        say("started", seconds=time.perf_counter() - began, engine=asdict(started))
        await level(engine, 1, prompt_tokens, answer_tokens)  # what is compiled at the first request is not measured
        for users in levels:
            say(
                "level",
                prompt_tokens=prompt_tokens,
                answer_tokens=answer_tokens,
                **await level(engine, users, prompt_tokens, answer_tokens),
            )
    finally:
        engine.shutdown()


if __name__ == "__main__":
    _, told, users, prompt, answer = sys.argv
    asyncio.run(run(json.loads(told), [int(one) for one in users.split(",")], int(prompt), int(answer)))
