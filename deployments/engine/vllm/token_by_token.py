"""A stream whose text vLLM's parsers of tool calls read gets one token in each output. In an engine replica only.

vLLM's streaming parsers (0.29) look at the last call of the text so far. An output that ends one call and begins or holds another one
makes them lose calls and arguments: `tool_choice: required` (`vllm.tool_parsers.streaming`) and `llama3_json` do
(vllm-project/vllm issues 48294 and 47907). Several tokens come in one output where the engine is ahead of its reader, whose queue merges
what waits there; where a draft model's guesses are accepted; where `stream_interval` is more than 1. A request that may call tools goes
through none of the three. Every other stream is left as it is.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping

from msgspec.structs import replace
from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest
from vllm.entrypoints.openai.responses.protocol import ResponsesRequest
from vllm.outputs import RequestOutput
from vllm.sampling_params import RequestOutputKind, SamplingParams
from vllm.v1.engine import EngineCoreOutput, EngineCoreRequest
from vllm.v1.engine.output_processor import OutputProcessor, OutputProcessorOutput, RequestOutputCollector, RequestState

Process = Callable[..., OutputProcessorOutput]

#: Among the extra arguments of a request's sampling parameters: its tokens are to stay apart. Clients may not use names that begin so.
APART = "herd_apart"

#: Of what the core says with several tokens, what it says once: with the first token, and with the last.
WITH_FIRST = dict.fromkeys(
    ("new_prompt_logprobs_tensors", "events", "prefill_stats", "routed_experts", "mm_cache_miss_hashes", "new_sampling_mask")
)
WITH_LAST = dict.fromkeys(("finish_reason", "stop_reason", "kv_transfer_params", "ec_transfer_params", "spec_decode_metrics"))


def serve_here() -> None:
    """Makes the serving side of this process give the parsers of tool calls one token at a time."""
    for request in (ChatCompletionRequest, ResponsesRequest):
        request.to_sampling_params = _marking(request.to_sampling_params)
    OutputProcessor.add_request = _adding(OutputProcessor.add_request)
    OutputProcessor.process_outputs = _processing(OutputProcessor.process_outputs)


def _marking(to_params: Callable[..., SamplingParams]) -> Callable[..., SamplingParams]:
    def to_sampling_params(request: ChatCompletionRequest | ResponsesRequest, *args: object, **named: object) -> SamplingParams:
        params = to_params(request, *args, **named)
        if request.tools and request.tool_choice != "none" and params.output_kind == RequestOutputKind.DELTA:
            params.extra_args = {**(params.extra_args or {}), APART: True}
        return params

    return to_sampling_params


def _adding(add: Callable[..., None]) -> Callable[..., None]:
    def add_request(processor: OutputProcessor, request: EngineCoreRequest, *args: object, **named: object) -> None:
        add(processor, request, *args, **named)
        if request.sampling_params is not None and APART in (request.sampling_params.extra_args or ()):
            state = processor.request_states[request.request_id]
            state.stream_interval = 1
            Apart.take_over(state.queue)

    return add_request


class Apart(RequestOutputCollector):  # type: ignore[misc]  # vLLM's types are not known to mypy
    """A request's queue that hands out what was put into it one by one. vLLM's merges what waits there."""

    @classmethod
    def take_over(cls, queue: RequestOutputCollector) -> None:
        """Makes an empty queue one of these. Its reader holds it already, so it stays the same object; several answers may share it."""
        if not isinstance(queue, cls):
            queue.__class__ = cls
            queue.waiting = deque()

    def put(self, output: RequestOutput | Exception) -> None:
        """Adds an output; an error too waits for its turn."""
        self.waiting.append(output)
        self.ready.set()

    def get_nowait(self) -> RequestOutput | None:
        """Returns the next output, or None where none waits.

        Raises:
            Exception: the one that was put.
        """
        if not self.waiting:
            return None
        output = self.waiting.popleft()
        if not self.waiting:
            self.ready.clear()
        if isinstance(output, Exception):
            raise output
        return output

    async def get(self) -> RequestOutput:
        """Returns the next output as soon as there is one.

        Raises:
            Exception: the one that was put.
        """
        while (output := self.get_nowait()) is None:
            await self.ready.wait()
        return output


def _processing(process: Process) -> Process:
    def process_outputs(processor: OutputProcessor, said: list[EngineCoreOutput], *args: object, **named: object) -> OutputProcessorOutput:
        if any(len(output.new_token_ids) > 1 for output in said):  # only a draft model makes it so
            said = list(_taken_apart(said, processor.request_states))
        return process(processor, said, *args, **named)

    return process_outputs


def _taken_apart(said: Iterable[EngineCoreOutput], states: Mapping[str, RequestState]) -> Iterator[EngineCoreOutput]:
    for output in said:
        state = states.get(output.request_id)
        if len(output.new_token_ids) > 1 and state is not None and isinstance(state.queue, Apart):
            yield from one_token_each(output)
        else:
            yield output


def one_token_each(output: EngineCoreOutput) -> Iterator[EngineCoreOutput]:
    """Yields what the core would have said, had it computed these tokens one after the other."""
    last = len(output.new_token_ids) - 1
    for at, token in enumerate(output.new_token_ids):
        likely = output.new_logprobs
        more = (WITH_FIRST if at else {}) | (WITH_LAST if at < last else {})
        yield replace(output, new_token_ids=[token], new_logprobs=None if likely is None else likely.slice_request(at, 1), **more)
