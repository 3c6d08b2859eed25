"""What a herd's gateway tells its clients, asked by a command."""

import json
from typing import Any

from deployments.lifecycle.herd import Herd, OperationError
from deployments.lifecycle.own_certificate import trust


def cards(herd: Herd) -> list[dict[str, Any]]:
    """Returns the card of each model that is served, once: its aliases stand in its card."""
    return [card for card in get(herd, "/v1/models")["data"] if not card.get("parent")]


def get(herd: Herd, path: str) -> dict[str, Any]:
    """Returns what a path of the herd's gateway answers.

    Raises:
        OperationError: it does not answer.
    """
    import httpx  # here, because `herd plan` answers before it would be imported

    url = f"{herd.endpoint}{path}"
    try:
        answer: dict[str, Any] = httpx.get(url, timeout=10, verify=trust(herd.config.gateway.tls)).raise_for_status().json()
    except (httpx.HTTPError, json.JSONDecodeError) as error:
        raise OperationError(f"{url} does not answer ({error}). `herd status` may tell more.") from error
    return answer
