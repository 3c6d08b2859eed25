"""vLLM's own spans join those of the gateway: by the header that the gateway sends, and only for requests whose spans are sent."""

import inspect
import os
import subprocess
import sys

from configs.engine_arguments import complaints
from deployments.lifecycle.engine_arguments import engine_arguments, engine_environment
from monitoring.trace_context import HEADER, Trace
from tests.alone.seams import ROOT
from tests.otlp_receiver import otlp_receiver
from tests.unit.samples import scout

#: As vLLM's engine begins, and as it ends a request (`vllm.v1.engine.output_processor`).
ENGINE = """
import sys
from opentelemetry import trace
from vllm.tracing import SpanKind, extract_trace_context, extract_trace_headers, init_tracer, instrument_manual
init_tracer("vllm.llm_engine", sys.argv[1])
for told in ({"traceparent": sys.argv[2], "authorization": "Bearer key"}, {"authorization": "Bearer key"}):
    context = extract_trace_context(extract_trace_headers(told))
    instrument_manual(span_name="llm_request", start_time=1, attributes={"a": 1}, context=context, kind=SpanKind.SERVER)
trace.get_tracer_provider().force_flush()
"""
TRACED = {"otlp_traces_endpoint": "http://collector:4317"}


def test_config_may_give_engines_a_collector() -> None:
    assert not list(complaints(TRACED))
    assert engine_arguments(scout(engine=TRACED))["otlp_traces_endpoint"] == TRACED["otlp_traces_endpoint"]


def test_vllm_sends_spans_of_a_traced_request_below_the_gateways_and_of_no_other() -> None:
    gateways = Trace(7 << 64, 9, 0, sampled=True)
    header = gateways.told(gateways.part(1)).decode()
    with otlp_receiver() as receiver:
        variables = {**os.environ, **engine_environment(scout(engine=TRACED), "cpu"), "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/protobuf"}
        command = [sys.executable, "-c", ENGINE, receiver.url, header]
        subprocess.run(command, env=variables, cwd=ROOT, check=True, timeout=120, capture_output=True)
    (span,) = receiver.spans
    assert (span.trace, span.parent) == (gateways.name, f"{gateways.part(1):016x}")


def test_vllm_reads_the_header_that_gateways_send() -> None:
    from vllm.entrypoints.generate.base import serving
    from vllm.tracing import extract_trace_headers

    assert "extract_trace_headers(headers)" in inspect.getsource(serving)
    assert extract_trace_headers({HEADER.decode(): "x"}) == {HEADER.decode(): "x"}
