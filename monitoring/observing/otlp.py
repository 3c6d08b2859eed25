"""The way of spans to a collector: OTLP over HTTP, by OpenTelemetry's own SDK and exporter.

Decides which resource the spans are of. Import it when spans are to be sent, and not before: OpenTelemetry takes a third of a second.
"""

import logging
import socket
from importlib.metadata import version

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

from configs.observing import Tracing
from monitoring.observing.spans import Span, Tree

_KINDS = {"server": SpanKind.SERVER, "client": SpanKind.CLIENT, "internal": SpanKind.INTERNAL}
_SENT = TraceFlags(TraceFlags.SAMPLED)
_STATUS = {True: Status(StatusCode.ERROR), False: Status(StatusCode.UNSET)}


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
        self._resource = Resource.create(about)
        self._scope = InstrumentationScope("herd.gateway", version("llama-herd"))
        self._exporter = OTLPSpanExporter(wanted.endpoint, timeout=wanted.send_s)

    def send(self, trees: list[Tree]) -> bool:
        """Sends spans; returns whether the collector has taken them."""
        spans = [self._made(tree, span) for tree in trees for span in tree.spans]
        return self._exporter.export(spans) is SpanExportResult.SUCCESS

    def close(self) -> None:
        """Gives up what is being sent."""
        self._exporter.shutdown()  # type: ignore[no-untyped-call]

    def _made(self, tree: Tree, span: Span) -> ReadableSpan:
        """Returns a span as the SDK's exporters take it: it has ended, so a tracer, which begins and ends spans, has nothing to do."""
        remote = tree.remote_parent and span is tree.spans[0]
        return ReadableSpan(
            span.name,
            SpanContext(tree.trace_id, span.span_id, False, _SENT),
            SpanContext(tree.trace_id, span.parent_id, remote, _SENT) if span.parent_id else None,
            self._resource,
            span.attributes,
            kind=_KINDS[span.kind],
            status=_STATUS[span.failed],
            start_time=span.began_ns,
            end_time=span.ended_ns,
            instrumentation_scope=self._scope,
        )
