"""A collector of traces: takes OTLP over HTTP as a real one does, decodes its protobuf, and keeps the spans."""

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest, ExportTraceServiceResponse
from opentelemetry.proto.trace.v1.trace_pb2 import Span as WireSpan


@dataclass(frozen=True)
class Got:
    """A span as it came."""

    name: str
    trace: str
    id: str
    parent: str
    kind: str
    began_ns: int
    ended_ns: int
    failed: bool
    attributes: dict[str, Any]
    resource: dict[str, Any]


@dataclass
class Receiver:
    """What came."""

    port: int = 0
    status: int = 200
    """The answer to each batch."""
    batches: list[bytes] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    spans: list[Got] = field(default_factory=list)
    held: threading.Event = field(default_factory=threading.Event)
    """No batch is answered before this is set, as it is at first."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1/traces"

    def take(self, body: bytes, headers: dict[str, str]) -> None:
        self.batches.append(body)
        self.headers.append(headers)
        for of in ExportTraceServiceRequest.FromString(body).resource_spans:
            about = {one.key: _value(one.value) for one in of.resource.attributes}
            for scope in of.scope_spans:
                self.spans.extend(_got(span, about) for span in scope.spans)

    def trees(self) -> list[list[Got]]:
        """Returns the spans by trace, each trace's in the order in which its parts began."""
        by_trace: dict[str, list[Got]] = {}
        for span in self.spans:
            by_trace.setdefault(span.trace, []).append(span)
        return [sorted(spans, key=lambda one: (one.began_ns, -one.ended_ns)) for spans in by_trace.values()]


@contextlib.contextmanager
def otlp_receiver() -> Iterator[Receiver]:
    """A collector on a free port of this machine."""
    receiver = Receiver()
    receiver.held.set()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            assert self.path == "/v1/traces"
            assert self.headers["content-type"] == "application/x-protobuf"
            receiver.held.wait(10)
            if receiver.status == 200:
                receiver.take(body, {name.lower(): value for name, value in self.headers.items()})
            answer = ExportTraceServiceResponse().SerializeToString()
            self.send_response(receiver.status)
            self.send_header("content-type", "application/x-protobuf")
            self.send_header("content-length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None: ...

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        block_on_close = False

        def handle_error(self, *_: object) -> None: ...  # a gateway that stops gives up what it sends

    with Server(("127.0.0.1", 0), Handler) as server:
        receiver.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield receiver
        finally:
            receiver.held.set()
            server.shutdown()
            thread.join()


def _got(span: WireSpan, about: dict[str, Any]) -> Got:
    return Got(
        span.name,
        span.trace_id.hex(),
        span.span_id.hex(),
        span.parent_span_id.hex(),
        WireSpan.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_").lower(),
        span.start_time_unix_nano,
        span.end_time_unix_nano,
        span.status.code == 2,
        {one.key: _value(one.value) for one in span.attributes},
        about,
    )


def _value(value: Any) -> Any:
    return getattr(value, value.WhichOneof("value"))
