"""Says what a gateway tells of each request beside its metrics: spans to a collector of traces, and lines of its log.

Decides nothing; `configs.schema.LiveSettings` has the fields of `Observing` beside its own, so that a change restarts nothing.
"""

import re
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, StringConstraints

from configs.addresses import PORT
from configs.strict import Strict


def _with_path(url: object) -> object:
    """Refuses an address without the path at which spans are taken: exporters add none to an address that is given to them."""
    if isinstance(url, str) and re.fullmatch(r"https?://[^/]+/?", url):
        raise ValueError(f"{url} has no path; spans are taken at {url.rstrip('/')}/v1/traces")
    return url


#: The address has no user or password: a config is no place for a secret.
CollectorUrl = Annotated[
    str,
    StringConstraints(pattern=rf"^https?://([A-Za-z0-9_.-]{{1,255}}|\[[0-9A-Fa-f:.]{{2,45}}\])(:{PORT})?/[A-Za-z0-9_./~%-]{{1,512}}$"),
    BeforeValidator(_with_path),
]


def _off(value: object) -> object:
    """Reads YAML's `off`, which is a false to it."""
    return "off" if value is False else value


AccessLog = Annotated[Literal["off", "errors", "all"], BeforeValidator(_off)]


class Tracing(Strict):
    """Says where spans of requests are sent, and of which requests. They have no text of a request, and no key."""

    endpoint: CollectorUrl = Field(
        description="Spans are sent to this address, by OTLP over HTTP with protobuf: `http://collector:4318/v1/traces`. Headers that the "
        "collector asks for stand in OTEL_EXPORTER_OTLP_HEADERS of the nodes' environment.",
    )
    sample_ratio: float = Field(0.01, ge=0, le=1, description="The spans of this share of all requests are sent.")
    errors_per_s: int = Field(
        10,
        ge=0,
        le=10_000,
        description="Spans of requests that the herd failed or refused, or asked of a second replica, are sent beyond that share: those of "
        "at most this many requests in a second.",
    )
    trust_clients: bool = Field(
        False,
        description="A client's `traceparent` header is taken over if this is true: the request's spans are part of its trace, and it "
        "says whether they are sent.",
    )
    queue_requests: int = Field(
        1024, ge=1, le=100_000, description="The spans of at most this many requests wait to be sent. Those of further ones are left out."
    )
    send_s: float = Field(10, gt=0, le=300, description="The collector must take a batch of spans within this many seconds, or it is lost.")


class Observing(Strict):
    """Says what gateways tell of requests. A change is told to the gateways that run."""

    tracing: Tracing | None = Field(None, description="Gateways send spans of requests to a collector of traces. Default: none are made.")
    access_log: AccessLog = Field(
        "errors",
        description="A gateway logs one line for each request that did not end well (`errors`), for each request (`all`), or none (`off`).",
    )
    access_log_lines_per_s: int = Field(
        100,
        ge=1,
        le=100_000,
        description="A gateway process logs at most this many of these lines in a second, and then the number of those that it left out.",
    )
