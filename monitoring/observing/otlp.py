"""The way of spans to a collector: OTLP over HTTP, by OpenTelemetry's own SDK and exporter.

Decides which resource the spans are of. Import it when spans are to be sent, and not before: OpenTelemetry takes a third of a second.
"""

import logging
import socket
from importlib.metadata import version

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import NonRecordingSpan, SpanContext, SpanKind, Status, StatusCode, TraceFlags, set_span_in_context

from configs.observing import Tracing
from monitoring.observing.spans import Span, Tree

_KINDS = {"server": SpanKind.SERVER, "client": SpanKind.CLIENT, "internal": SpanKind.INTERNAL}


class _Ids(IdGenerator):
    """Gives spans the ids that engines have been told already."""

    def __init__(self) -> None:
        self._trace_id = self._span_id = 0

    def plan(self, trace_id: int, span_id: int) -> None:
        """The next span gets these."""
        self._trace_id, self._span_id = trace_id, span_id

    def generate_trace_id(self) -> int:
        return self._trace_id

    def generate_span_id(self) -> int:
        return self._span_id


class _Made(SpanProcessor):
    """Keeps the spans that have been made."""

    def __init__(self) -> None:
        self._spans: list[ReadableSpan] = []

    def on_end(self, span: ReadableSpan) -> None:
        self._spans.append(span)

    def taken(self) -> list[ReadableSpan]:
        """Returns them, and keeps them no more."""
        spans, self._spans = self._spans, []
        return spans


class Exporter:
    """Sends spans of one gateway to a collector."""

    def __init__(self, wanted: Tracing, instance: str) -> None:
        """Args:
        wanted: the config's section.
        instance: the name of this gateway.
        """
        logging.getLogger("opentelemetry.exporter").setLevel(logging.CRITICAL)  # the sender tells once a minute what is lost
        about = {
            "service.name": "llama-herd-gateway",
            "service.version": version("llama-herd"),
            "service.instance.id": instance,
            "host.name": socket.gethostname(),
        }
        self._ids, self._made = _Ids(), _Made()
        provider = TracerProvider(ALWAYS_ON, Resource.create(about), shutdown_on_exit=False, id_generator=self._ids)
        provider.add_span_processor(self._made)
        self._tracer = provider.get_tracer("herd.gateway", version("llama-herd"))
        self._exporter = OTLPSpanExporter(wanted.endpoint, timeout=wanted.send_s)

    def send(self, trees: list[Tree]) -> bool:
        """Sends spans; returns whether the collector has taken them."""
        for tree in trees:
            for span in tree.spans:
                self._make(tree, span)
        return self._exporter.export(self._made.taken()) is SpanExportResult.SUCCESS

    def close(self) -> None:
        """Gives up what is being sent."""
        self._exporter.shutdown()  # type: ignore[no-untyped-call]

    def _make(self, tree: Tree, span: Span) -> None:
        self._ids.plan(tree.trace_id, span.span_id)
        remote = tree.remote_parent and span is tree.spans[0]
        above = SpanContext(tree.trace_id, span.parent_id, remote, TraceFlags(TraceFlags.SAMPLED))
        context = set_span_in_context(NonRecordingSpan(above), Context()) if span.parent_id else Context()
        made = self._tracer.start_span(span.name, context, _KINDS[span.kind], span.attributes, start_time=span.began_ns)
        if span.failed:
            made.set_status(Status(StatusCode.ERROR))
        made.end(span.ended_ns)
