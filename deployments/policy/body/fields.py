"""Which fields of a request an engine may get, and whether their values are in bounds.

Decides over a decoded body, before a replica is chosen. Every field that vLLM reads has a row in `field_table`; a name that has none is
let through, left out or refused as the config says. What depends on the model is `deployments.policy.body.sizes`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from configs.requests import Requests, is_the_clusters
from deployments.policy.body.bounds import refused
from deployments.policy.body.field_table import EVERYWHERE, FIELDS, NEEDED, PLAIN
from deployments.policy.errors.client_errors import BadRequest

_SHORT = frozenset({int, float, bool, type(None)})


def unknown(endpoint: str, body: Mapping[str, Any], requests: Requests) -> tuple[str, ...]:
    """Checks all fields of a request.

    Args:
        endpoint: its short name, of `deployments.policy.request.calls.ENDPOINTS`.
        body: the decoded body.
        requests: the config's numbers.

    Returns:
        The names that the API does not have, where the config says that they are left out; else none.

    Raises:
        BadRequest: a field is out of bounds, refused or missing.
    """
    rules = FIELDS[endpoint]
    others: list[str] = []
    for name, value in body.items():
        rule = rules.get(name)
        if rule is PLAIN and type(value) in _SHORT:
            continue
        if rule is None:
            rule = EVERYWHERE.get(name)
            if rule is None:
                _check_unknown(name, value, requests)
                others.append(name)
                continue
        if value is not None:
            rule.check(name, value, requests)
    needed = NEEDED[endpoint]
    if body.get(needed[0]) is None:
        _check_others_needed(needed, body)
    if endpoint == "completions":
        _check_sequences(body, requests)
    return tuple(others) if others and requests.unknown_fields == "drop" else ()


def _check_others_needed(needed: Sequence[str], body: Mapping[str, Any]) -> None:
    if all(body.get(name) is None for name in needed):
        names = " or ".join(f"'{name}'" for name in needed)
        raise BadRequest(f"The request must have {names}.", param=needed[0], code="missing_required_parameter")


def _check_unknown(name: str, value: Any, requests: Requests) -> None:  # noqa: ANN401
    if is_the_clusters(name) and value is not None:
        raise refused(name, "is the cluster's own: leave it out.", code="unsupported_parameter")
    if requests.unknown_fields == "refuse":
        raise refused(name[:64], "is not a field of this API: leave it out.", code="unknown_parameter")


def _check_sequences(body: Mapping[str, Any], requests: Requests) -> None:
    """Bounds prompts times choices: each of these is an answer that the engine generates."""
    prompts = body.get("prompt")
    choices = body.get("n")
    if not choices or not isinstance(prompts, list) or type(prompts[0] if prompts else 0) is int:
        return
    wanted = len(prompts) * int(float(choices))
    if wanted > requests.sequences:
        raise refused(
            "prompt", f"asks for {wanted} answers, with 'n'; a request may ask for {requests.sequences}. Send several requests instead."
        )
