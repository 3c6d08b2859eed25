"""The serving side of vLLM goes on with an answer that another engine began. In an engine replica only.

Decides nothing: a request whose `vllm_xargs` carry delivered tokens (`policy.request.resume` writes them) is made to look, on the serving
side, as if this engine had generated them. They pass through vLLM's own output processor in the same groups as before, so text, tool
calls, stop strings and usage come out as they did, and then the engine core goes on behind them. vLLM has no request that begins with
output (0.29): the core is told prompt and delivered tokens as its prompt, and as many tokens less to generate.

Presence and frequency penalties count from the seam on only, and a seed begins anew there.
"""

from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from copy import copy

from vllm.outputs import RequestOutput
from vllm.sampling_params import SamplingParams
from vllm.v1.engine import EngineCoreOutput, EngineCoreRequest, FinishReason
from vllm.v1.engine.async_llm import AsyncLLM
from vllm.v1.engine.output_processor import OutputProcessor, RequestOutputCollector
from vllm.v1.engine.parallel_sampling import ParentRequest

from deployments.policy.request.resume import FINISH, GROUPS, STOP, TOKENS, Delivered

Add = Callable[..., Awaitable[None]]


def serve_here() -> None:
    """Makes the serving side of this process understand requests that carry delivered tokens."""
    AsyncLLM._add_request = _adding(AsyncLLM._add_request)  # noqa: SLF001 (there is no public place between its two halves)


def so_far(params: SamplingParams | None) -> Delivered | None:
    """Returns the tokens that a request says were delivered; None where it begins as others do."""
    said = (params.extra_args if params is not None else None) or {}
    tokens = said.get(TOKENS)
    return None if tokens is None else Delivered(tuple(tokens), tuple(said.get(GROUPS, ())), said.get(FINISH), said.get(STOP))


def _adding(add: Add) -> Add:
    async def add_request(  # vLLM's own signature
        engine: AsyncLLM,
        request: EngineCoreRequest,
        prompt: str | None,
        parent: ParentRequest | None,
        index: int,
        queue: RequestOutputCollector,
    ) -> None:
        delivered = so_far(request.sampling_params)
        if delivered is None or parent is not None:
            await add(engine, request, prompt, parent, index, queue)
            return
        engine.check_admission(request_id=request.request_id)
        engine.output_processor.add_request(request, prompt, parent, index, queue)
        _first(queue, replayed(engine.output_processor, request, delivered))
        if engine.output_processor.has_request(request.request_id):  # else what was delivered is the whole answer
            await engine.engine_core.add_request_async(behind(request, delivered))

    return add_request


def replayed(processor: OutputProcessor, request: EngineCoreRequest, delivered: Delivered) -> list[RequestOutput]:
    """Returns the output processor's outputs for the delivered tokens, one for each group."""
    state = processor.request_states[request.request_id]
    queue, state.queue = state.queue, None  # without one, it hands its outputs back
    traces, processor.tracing_enabled = processor.tracing_enabled, False  # a span needs times that only the core tells
    outputs: list[RequestOutput] = []
    try:
        for said in _as_core_says(request, delivered):
            outputs += processor.process_outputs([said]).request_outputs
    finally:
        processor.tracing_enabled = traces
    # The core has not yet begun: what it reports of its prefill is still to come.
    state.queue, state.is_prefilling = queue, True
    return outputs


def _as_core_says(request: EngineCoreRequest, delivered: Delivered) -> Iterator[EngineCoreOutput]:
    begin = 0
    for number, size in enumerate(delivered.groups, 1):
        reason = _reason(request, delivered) if number == len(delivered.groups) else None
        stop = None if reason is None else delivered.stop
        tokens = list(delivered.tokens[begin : begin + size])
        yield EngineCoreOutput(request.request_id, tokens, finish_reason=reason, stop_reason=stop)
        begin += size


def _reason(request: EngineCoreRequest, delivered: Delivered) -> FinishReason | None:
    """Why the answer had ended, as the core said it. Of an answer with tool calls vLLM does not tell the client."""
    if delivered.finish is None:
        return None
    full = delivered.finish == "tool_calls" and len(delivered.tokens) == request.sampling_params.max_tokens
    return FinishReason.LENGTH if full or delivered.finish == "length" else FinishReason.STOP


def _first(queue: RequestOutputCollector, outputs: list[RequestOutput]) -> None:
    """Makes a queue give these before all else, and one by one: put in, they would be merged."""
    waiting = deque(outputs)

    def get_nowait() -> RequestOutput | None:
        return waiting.popleft() if waiting else type(queue).get_nowait(queue)

    queue.get_nowait = get_nowait


def behind(request: EngineCoreRequest, delivered: Delivered) -> EngineCoreRequest:
    """The request for the core: its prompt goes to the end of what was delivered."""
    count = len(delivered.tokens)
    params = request.sampling_params.clone()
    params.max_tokens -= count
    params.min_tokens = max(0, params.min_tokens - count)
    resumed = copy(request)
    resumed.prompt_token_ids = [*request.prompt_token_ids, *delivered.tokens]
    resumed.sampling_params = params
    return resumed
