"""vLLM's own spans join those of the gateway: by the header that the gateway sends, and only for requests whose spans are sent."""

import inspect
import os
import subprocess
import sys

from configs.engine_arguments import complaints
from deployments.lifecycle.engine_arguments import engine_arguments, engine_environment
from monitoring.trace_context import HEADER, Trace
from tests.alone import vllm_itself
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


def test_engine_sends_by_http_to_the_path_of_otlp_over_http_and_else_by_grpc() -> None:
    by_grpc = engine_environment(scout(engine=TRACED), "cpu")
    by_http = engine_environment(scout(engine={"otlp_traces_endpoint": "http://collector:4318/v1/traces"}), "cpu")
    assert by_http == by_grpc | {"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/protobuf"}
    assert not [name for name in engine_environment(scout(), "cpu") if name.startswith("OTEL_")]


def test_vllm_sends_spans_of_a_traced_request_below_the_gateways_and_of_no_other() -> None:
    gateways = Trace(7 << 64, 9, 0, sampled=True)
    header = gateways.told(gateways.part(1)).decode()
    with otlp_receiver() as receiver:
        variables = {**os.environ, **engine_environment(scout(engine={"otlp_traces_endpoint": receiver.url}), "cpu")}
        command = [sys.executable, "-c", ENGINE, receiver.url, header]
        subprocess.run(command, env=variables, cwd=ROOT, check=True, timeout=120, capture_output=True)
    (span,) = receiver.spans
    assert (span.trace, span.parent) == (gateways.name, f"{gateways.part(1):016x}")
    assert span.resource["service.name"] == "llama-herd-engine"


def test_vllm_reads_the_header_that_gateways_send() -> None:
    from vllm.entrypoints.generate.base import serving
    from vllm.tracing import extract_trace_headers

    assert "extract_trace_headers(headers)" in inspect.getsource(serving)
    assert extract_trace_headers({HEADER.decode(): "x"}) == {HEADER.decode(): "x"}


def test_traced_request_goes_on_where_another_engine_died() -> None:
    gateways = Trace(7 << 64, 9, 0, sampled=True)
    part, whole = vllm_itself.ask("resumed", gateways.told(gateways.part(1)).decode(), module="tests.alone.vllm_traces")
    assert part == {"told": 2, "spans": [{"name": "llm_request", "trace": gateways.name}]}
    assert whole == {"told": 2, "spans": []}, "this engine has done nothing for it"
