"""Streams of tool calls as vLLM's own serving side writes them, from what an engine core says to the events; no engine runs.

`python -m tests.alone.vllm_tools streamed`, as `tests.alone.vllm_itself`. vLLM's output processor, queue, parser and server are the real
ones. The core, which says given tokens in given groups, and the moments at which the stream is read are made here.
"""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Iterator
from types import SimpleNamespace
from typing import Any

from tests.alone import vllm_stream

END = "<end>"
BODY = {"model": vllm_stream.MODEL, "messages": [{"role": "user", "content": "Hi"}], "stream": True}
#: The parser of Llama 3 wants this token to be there.
KNOWN = ("<|python_tag|>", "hi")


def streamed(cases: list[dict[str, Any]]) -> list[list[str]]:
    """Each case's events.

    Args:
        cases: an `api` (chat or messages) and the `parser` of tools; fields of the `request`; `pieces` of text, one for each token, and in
            groups of which `sizes` the core says them; after how many (`read_after`) groups the stream is read; the engine's
            `stream_interval`; how many tokens another engine had `delivered`, one with each event; whether the herd `mends` vLLM.
    """
    plain = [_streamed(case) for case in cases if not case.get("mends", True)]
    serve_here()
    mended = [_streamed(case) for case in cases if case.get("mends", True)]
    return [(mended if case.get("mends", True) else plain).pop(0) for case in cases]


def serve_here() -> None:
    """Does what a replica does."""
    from deployments.engine.vllm import resume, token_by_token

    resume.serve_here()
    token_by_token.serve_here()


def apart(bodies: list[dict[str, Any]]) -> list[bool]:
    """Whether the tokens of these requests to chat (with `messages`) or responses (with `input`) are to stay apart."""
    from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest
    from vllm.entrypoints.openai.responses.protocol import ResponsesRequest

    from deployments.engine.vllm.token_by_token import APART

    serve_here()
    requests = [(ChatCompletionRequest if "messages" in body else ResponsesRequest)(**body) for body in bodies]
    return [APART in (request.to_sampling_params(16, {}).extra_args or {}) for request in requests]


def queued() -> dict[str, Any]:
    """What the queue of a request whose tokens stay apart does where its reader waits, and where the engine dies."""
    from vllm.sampling_params import RequestOutputKind
    from vllm.v1.engine.exceptions import EngineDeadError
    from vllm.v1.engine.output_processor import RequestOutputCollector

    from deployments.engine.vllm.token_by_token import Apart

    async def told() -> dict[str, Any]:
        queue = RequestOutputCollector(RequestOutputKind.DELTA, "1")
        Apart.take_over(queue)
        Apart.take_over(queue)
        empty = queue.get_nowait()
        waiting = asyncio.ensure_future(queue.get())
        await asyncio.sleep(0)
        waits = not waiting.done()
        for one in ("first", "second", EngineDeadError()):
            queue.put(one)
        got = [await waiting, queue.get_nowait()]
        try:
            await queue.get()
        except EngineDeadError:
            got.append("dead")
        return {"empty": empty, "waits": waits, "got": got, "left": queue.get_nowait(), "ready": queue.ready.is_set()}

    return asyncio.run(told())


def taken_apart() -> list[dict[str, Any]]:
    """The fields of an output of three tokens, taken apart."""
    import numpy as np
    from msgspec.structs import asdict
    from vllm.v1.engine import EngineCoreOutput, FinishReason
    from vllm.v1.outputs import LogprobsLists

    from deployments.engine.vllm.token_by_token import one_token_each

    likely = LogprobsLists(np.array([[5], [6], [7]]), np.array([[-5.0], [-6.0], [-7.0]]), np.array([1, 2, 3]))
    once: dict[str, Any] = {name: name for name in EngineCoreOutput.__struct_fields__[3:]}
    said = EngineCoreOutput("1", [5, 6, 7], likely, **(once | {"finish_reason": FinishReason.STOP}))
    found = [{name: value for name, value in asdict(one).items() if value is not None} for one in one_token_each(said)]
    return [one | {"finish_reason": str(one.get("finish_reason")), "new_logprobs": one["new_logprobs"].logprobs.tolist()} for one in found]


def _streamed(case: dict[str, Any]) -> list[str]:
    async def all_events() -> list[str]:
        chat = _Engine(case).chat()
        return [event async for event in (vllm_stream._messages(chat) if case["api"] == "messages" else chat)]

    return asyncio.run(all_events())


class _Engine:
    """vLLM's serving side for one request, over a core that says what a case tells."""

    def __init__(self, case: dict[str, Any]) -> None:
        from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest
        from vllm.v1.engine.output_processor import OutputProcessor

        self.case = case
        self.tokenizer = _tokenizer(case["pieces"])
        ids = self.tokenizer.get_vocab()
        self.tokens = [ids[piece] for piece in case["pieces"]] + [ids[END]]
        self.request = ChatCompletionRequest(**BODY, **case.get("request", {}))
        self.output_processor = OutputProcessor(self.tokenizer, log_stats=True, stream_interval=case.get("stream_interval", 1))
        self.log_requests, self.engine_core = False, SimpleNamespace(add_request_async=self._nothing)

    async def _nothing(self, _request: Any) -> None:
        pass

    def check_admission(self, **_: Any) -> None:
        pass

    def chat(self) -> AsyncIterator[str]:
        """The events of `/v1/chat/completions`."""
        from vllm.entrypoints.openai.chat_completion import serving
        from vllm.parser.parser_manager import ParserManager

        vars(serving)["time"] = SimpleNamespace(time=lambda: vllm_stream.CREATED)
        parser = ParserManager.get_parser(tool_parser_name=self.case["parser"], reasoning_parser_name=None, enable_auto_tools=True)
        server = vllm_stream._server(
            serving.OpenAIServingChat, parser_cls=parser, response_role="assistant", _include_reasoning_tokens_details=False
        )
        events: AsyncIterator[str] = server.chat_completion_stream_generator(
            self.request, self._generated(), vllm_stream.IDS["chat"], vllm_stream.MODEL, [], self.tokenizer, SimpleNamespace()
        )
        return events

    async def _generated(self) -> AsyncIterator[Any]:
        """As `AsyncLLM.generate`: adds the request, with `n` of its own for each answer, and reads its queue."""
        from vllm.v1.engine.async_llm import AsyncLLM
        from vllm.v1.engine.output_processor import RequestOutputCollector
        from vllm.v1.engine.parallel_sampling import ParentRequest
        from vllm.v1.metrics.stats import IterationStats

        request = self._core_request()
        queue = RequestOutputCollector(request.params.output_kind, "1")
        parent = ParentRequest(request) if request.params.n > 1 else None
        ids = []
        for index in range(request.params.n):
            child = self._core_request()
            if parent is not None:
                child.request_id, child.sampling_params = parent.get_child_info(index)
            ids.append(child.request_id)
            await AsyncLLM._add_request(self, child, "Hi", parent, index, queue)
        said = list(self._said(ids))
        for number, outputs in enumerate(said, 1):
            self.output_processor.process_outputs(outputs, 0.0, IterationStats())
            if number % self.case.get("read_after", 1) == 0 or number == len(said):
                while (output := queue.get_nowait()) is not None:
                    yield output

    def _core_request(self) -> Any:
        from vllm.v1.engine import EngineCoreRequest

        delivered = self.tokens[: self.case.get("delivered", 0)]
        params = self.request.to_sampling_params(1000, {})
        if delivered:
            more = {"herd_tokens": delivered, "herd_groups": [1] * len(delivered)}
            params.extra_args = (params.extra_args or {}) | more
        return EngineCoreRequest("1", list(vllm_stream.PROMPT), None, params, None, 0.0, None, None, None, external_req_id="1")

    def _said(self, ids: list[str]) -> Iterator[list[Any]]:
        """What the core says, step for step; `sizes` begin anew where they are used up."""
        import numpy as np
        from vllm.v1.engine import EngineCoreOutput, FinishReason
        from vllm.v1.outputs import LogprobsLists

        at, sizes, likely = self.case.get("delivered", 0), [*self.case.get("sizes", [1])], None
        while at < len(self.tokens):
            tokens = self.tokens[at : at + sizes[0]]
            at, sizes = at + len(tokens), [*sizes[1:], sizes[0]]
            if self.request.logprobs:
                likely = LogprobsLists(np.array([[one] for one in tokens]), np.array([[-float(one)] for one in tokens]), np.array(tokens))
            reason = FinishReason.STOP if at == len(self.tokens) else None
            yield [EngineCoreOutput(id, list(tokens), new_logprobs=likely, finish_reason=reason) for id in ids]


def _tokenizer(pieces: list[str]) -> Any:
    """A tokenizer that knows these pieces, each as one token."""
    from tokenizers import Tokenizer, decoders, models
    from transformers import PreTrainedTokenizerFast

    known = {piece: number for number, piece in enumerate(dict.fromkeys([*KNOWN, END, *pieces]))}
    tokenizer = Tokenizer(models.WordLevel(known, unk_token=KNOWN[0]))
    tokenizer.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=END)


if __name__ == "__main__":
    answered = globals()[sys.argv[1]](*json.load(sys.stdin))
    print(f"\n{json.dumps(answered)}")
