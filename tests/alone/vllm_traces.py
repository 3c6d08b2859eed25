"""vLLM's own spans of requests that go on where another engine has died; no engine runs.

`python -m tests.alone.vllm_traces resumed`, as `tests.alone.vllm_itself`. vLLM's output processor and tracing are the real ones.
"""

import json
import sys
from typing import Any

from tests.alone.vllm_tools import _tokenizer


def resumed(header: str) -> list[dict[str, Any]]:
    """Replays a traced request, first where another engine had said a part of its answer, then where it had said all of it.

    Returns its spans and the number of its outputs, each time.

    Args:
        header: the request's `traceparent`.
    """
    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    spans, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(spans))
    trace.set_tracer_provider(provider)
    found = []
    for finish in (None, "stop"):
        told = _resumed(header, finish)
        made = [{"name": one.name, "trace": f"{one.context.trace_id:032x}"} for one in spans.get_finished_spans()]
        found.append({"told": told, "spans": made})
        spans.clear()
    return found


def _resumed(header: str, finish: str | None) -> int:
    """Replays two tokens, and has the core say a third one where that was not the whole answer; returns the outputs of the two."""
    from vllm.sampling_params import RequestOutputKind, SamplingParams
    from vllm.v1.engine import EngineCoreOutput, EngineCoreRequest, FinishReason
    from vllm.v1.engine.output_processor import OutputProcessor, RequestOutputCollector
    from vllm.v1.metrics.stats import IterationStats

    from deployments.engine.vllm.resume import replayed
    from deployments.policy.request.resume import Delivered

    headers = {"traceparent": header}
    processor = OutputProcessor(_tokenizer(["lla", "ma"]), log_stats=True, tracing_enabled=True)
    params = SamplingParams(output_kind=RequestOutputKind.DELTA)
    request = EngineCoreRequest("1", [1, 2], None, params, None, 0.0, None, None, None, external_req_id="1", trace_headers=headers)
    processor.add_request(request, "Hi", None, 0, RequestOutputCollector(params.output_kind, "1"))
    outputs = replayed(processor, request, Delivered((2, 3), (1, 1), finish))
    if processor.has_request("1"):
        last = EngineCoreOutput("1", [3], finish_reason=FinishReason.STOP, trace_headers=headers)
        processor.process_outputs([last], 0.0, IterationStats())
    return len(outputs)


if __name__ == "__main__":
    answered = globals()[sys.argv[1]](*json.load(sys.stdin))
    print(f"\n{json.dumps(answered)}")
