"""One line of a gateway's log for each thing that an operator did to the herd: who, what, to which model, when.

Decides nothing. The herd's events are the record that all operators see; they end with the cluster's store, and the oldest go. The lines
go where a site ships its logs to.
"""

from datetime import UTC, datetime

import structlog

from deployments.policy.fleet.events import Event, is_by_an_operator


def written(event: Event) -> None:
    """Writes the line of an event, if an operator caused it."""
    if is_by_an_operator(event):
        when = datetime.fromtimestamp(event.when, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        about = {name: value for name, value in (("model", event.model), ("subject", event.subject)) if value}
        structlog.get_logger("herd.audit").info("operator", who=event.who, kind=event.kind, words=event.words, when=when, **about)
