"""Asks a gateway for the state of every model by HTTP alone, from any machine: without Ray, and without a folder of the herd's.

Decides which key opens the page of status: the one that is made of `HERD_SECRET`, which is sent only to a gateway that asks for it.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from configs.load import Environment
from deployments.commands.using.endpoint import SECRET, named
from deployments.lifecycle import seen
from deployments.lifecycle.known import OperationError
from deployments.lifecycle.seen import Reports
from deployments.policy.fleet.why import Facts

PAGE = "/-/status"
NOTE = "By HTTP alone: replicas that have no place yet, phases of starts and errors are told only where the cluster can be asked."


def by_http(url: str, ca: Path | None, name: str | None, given: Environment) -> tuple[str, Callable[[], tuple[dict[str, Facts], Reports]]]:
    """Returns the address of a gateway, and a function that asks it, which raises an OperationError where it gets no answer.

    Raises:
        OperationError: `--url` is no address of a gateway, or `--name` is given as well.
    """
    has_key = given.secret is not None or "pages" in given.keys
    endpoint = replace(named(url, ca, name, given), key=given.key("pages") if has_key else None, key_from=SECRET)

    def ask() -> tuple[dict[str, Facts], Reports]:
        told = endpoint.get(PAGE)
        if not isinstance(told.get("models"), dict):
            raise OperationError(f"{endpoint.url} is no gateway of a herd: its page of status has no models. {endpoint.way_out}")
        try:
            return seen.of_page(told)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise OperationError(f"{endpoint.url}{PAGE} does not answer as a gateway of this release does. {endpoint.way_out}") from error

    return endpoint.url, ask
