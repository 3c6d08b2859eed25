"""The spans of a request that has ended: one for the request, and one for each of its steps.

Decides names, times and attributes. Source: OpenTelemetry's semantic conventions for generative AI. No attribute carries a text of the
request, a key, a header or an address: their values are models, endpoints, replicas, codes and numbers, as in the table of metrics.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

import msgspec

from monitoring.ended import Ended
from monitoring.labels import Outcome
from monitoring.steps import Step
from monitoring.trace_context import Trace

#: The conventions' word for what an endpoint does, where they have one. Others are called as in the metrics.
OPERATIONS: Mapping[str, str] = MappingProxyType(
    {"chat": "chat", "responses": "chat", "messages": "chat", "completions": "text_completion", "embeddings": "embeddings"}
)
PROVIDER = "llama_herd"
#: Ends of a request that are the herd's own failures, and not its client's.
FAILURES = frozenset({Outcome.TIMEOUT, Outcome.OVERLOADED, Outcome.UNAVAILABLE, Outcome.ENGINE_FAILED, Outcome.INTERNAL_ERROR})


class Span(msgspec.Struct, frozen=True):
    """One span, without the trace that it is in."""

    name: str
    kind: Literal["server", "client", "internal"]
    span_id: int
    parent_id: int
    """0: it has no parent."""
    began_ns: int
    """Since 1970."""
    ended_ns: int
    attributes: dict[str, str | int | float]
    failed: bool
    """Its status is an error."""


class Tree(msgspec.Struct, frozen=True):
    """The spans of one request."""

    trace_id: int
    remote_parent: bool
    """The first one's parent is a client's span."""
    spans: tuple[Span, ...]


def is_notable(ended: Ended) -> bool:
    """Tells whether the herd failed a request, refused it, or asked a second replica because the first one failed."""
    if ended.outcome in FAILURES:
        return True
    for step in ended.entry.steps:  # noqa: SIM110 (`any` takes twice as long, for every request)
        if step.error:
            return True
    return False


def tree(ended: Ended, trace: Trace, zero_ns: int) -> Tree:
    """Returns the spans of a request.

    Args:
        ended: the request.
        trace: its place in a trace.
        zero_ns: when the clock of its times was zero, in nanoseconds since 1970.
    """
    parts = tuple(_part(step, ended, trace, zero_ns) for step in ended.entry.steps)
    return Tree(trace.trace_id, bool(trace.parent_id), (_whole(ended, trace, zero_ns), *parts))


def error_type(ended: Ended) -> str:
    """Returns the code of the error that the client was told, or how else it ended; empty for an answer."""
    return "" if ended.outcome is Outcome.OK else ended.entry.code or ended.outcome.value


def _whole(ended: Ended, trace: Trace, zero_ns: int) -> Span:
    entry = ended.entry
    attributes = _about(ended, entry.model) | {"herd.outcome": ended.outcome.value}
    attributes["herd.attempts"] = sum(step.kind == "attempt" for step in entry.steps)
    if ended.served is not None:
        attributes["gen_ai.response.model"] = ended.served.model
    if ended.usage is not None:
        attributes["gen_ai.usage.input_tokens"], attributes["gen_ai.usage.output_tokens"] = ended.usage
    if ended.cached_tokens:
        attributes["gen_ai.usage.cache_read.input_tokens"] = ended.cached_tokens
    if ended.ttft_s is not None:
        attributes["herd.time_to_first_token_s"] = ended.ttft_s
    if entry.status:
        attributes["http.response.status_code"] = entry.status
    if error := error_type(ended):
        attributes["error.type"] = error
    name = f"{attributes['gen_ai.operation.name']} {entry.model}"
    began, over = _ns(entry.arrived_s, zero_ns), _ns(ended.now_s, zero_ns)
    return Span(name, "server", trace.span_id, trace.parent_id, began, over, attributes, ended.outcome in FAILURES)


def _part(step: Step, ended: Ended, trace: Trace, zero_ns: int) -> Span:
    attributes: dict[str, str | int | float] = {"gen_ai.request.model": step.model}
    if step.kind != "queue":
        attributes = _about(ended, step.model)
    if step.replica:
        attributes["herd.replica"] = step.replica
    if step.reason:
        attributes["herd.pick"] = step.reason
    if step.retry is not None and step.kind == "attempt":
        attributes["herd.retry"] = step.retry.value
    error = step.error or (error_type(ended) if step.broken else "")
    if error:
        attributes["error.type"] = error
    failed = bool(step.error) or (step.broken and ended.outcome in FAILURES)
    times = _ns(step.began_s, zero_ns), _ns(step.ended_s, zero_ns)
    kind: Literal["client", "internal"] = "internal" if step.kind == "queue" else "client"
    return Span(f"{step.kind} {step.model}", kind, trace.part(step.number), trace.span_id, *times, attributes, failed)


def _about(ended: Ended, model: str) -> dict[str, str | int | float]:
    endpoint = ended.entry.endpoint
    return {
        "gen_ai.operation.name": OPERATIONS.get(endpoint, endpoint),
        "gen_ai.provider.name": PROVIDER,
        "gen_ai.request.model": model,
    }


def _ns(at_s: float, zero_ns: int) -> int:
    return zero_ns + round(at_s * 1e9)
