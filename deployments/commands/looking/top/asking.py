"""Asks a herd's gateways how they are, by HTTP alone: one look at a time, each bounded in time and size.

Decides which pages are asked for, and that a page that does not answer holds nothing up: it is told, and the others are shown.
"""

import json
import queue
import re
import threading
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from deployments.commands.looking.by_http import PAGE
from deployments.commands.looking.top import metrics_page
from deployments.commands.looking.top.figures import Look
from deployments.commands.using.endpoint import UNAUTHORIZED, Endpoint
from deployments.lifecycle import seen

if TYPE_CHECKING:
    import httpx

TARGETS = "/-/targets"
#: Longest time for all pages that are asked at once, in seconds, and the largest page that is read.
WITHIN_S, MOST_BYTES = 5.0, 32 << 20
MOST_GATEWAYS = 256
_ADDRESS = re.compile(r"[A-Za-z0-9._:\[\]-]{1,260}:\d{1,5}")


class Unanswered(Exception):
    """A page did not answer as it should; the message says how."""


class Gateways:
    """The gateways of a herd, asked through one of them."""

    def __init__(self, endpoint: Endpoint, within_s: float = WITHIN_S) -> None:
        """Args:
        endpoint: a gateway; its key is that of operators' pages.
        within_s: longest time for all pages that are asked at once.
        """
        import httpx

        self._within_s = within_s
        self._pages = endpoint.client(within_s)
        # Metrics ask for no key, and none is sent.
        self._metrics = httpx.Client(timeout=within_s, limits=httpx.Limits(max_connections=None))
        self._key_from = endpoint.key_from
        self._known: tuple[str, ...] = ()

    def close(self) -> None:
        """Closes the connections."""
        self._pages.close()
        self._metrics.close()

    def look(self) -> Look:
        """Asks all gateways, and returns what they say; it takes two times `within_s` at most."""
        pages = {path: self._asked(self._pages, path) for path in (PAGE, TARGETS)}
        answers = together(pages, self._within_s)
        problems = [f"{path}: {said}." for path, said in answers.items() if isinstance(said, Unanswered)]
        status, targets = answers[PAGE], answers[TARGETS]
        if isinstance(targets, str):
            self._known = _addresses(targets)
        found = together({one: self._asked(self._metrics, f"http://{one}/metrics") for one in self._known[:MOST_GATEWAYS]}, self._within_s)
        problems += [f"gateway {address}: {said}." for address, said in found.items() if isinstance(said, Unanswered)]
        if len(self._known) > MOST_GATEWAYS:
            problems.append(f"only {MOST_GATEWAYS} of {len(self._known)} gateways are asked.")
        counted = {address: metrics_page.read(said) for address, said in found.items() if isinstance(said, str)}
        facts: Any = {}
        starting: Mapping[str, list[str]] = {}
        if isinstance(status, str):
            try:
                facts, starting = _status(status)
            except (ValueError, KeyError, TypeError, AttributeError):
                problems.append(f"{PAGE}: it does not answer as a gateway of this release does.")
        return Look(time.monotonic(), facts, starting, counted, len(self._known), problems)

    def _asked(self, client: "httpx.Client", url: str) -> Callable[[], str]:
        return lambda: text(client, url, self._within_s, self._key_from)


def text(client: "httpx.Client", url: str, within_s: float, key_from: str) -> str:
    """Returns a page.

    Raises:
        Unanswered: it is not there whole in time, is too large, or is another answer than 200.
    """
    import httpx

    ends, pieces, size = time.monotonic() + within_s, [], 0
    try:
        with client.stream("GET", url) as answer:
            if answer.status_code == UNAUTHORIZED:
                raise Unanswered(f"it asks for the key to operators' pages, which is made of {key_from}")
            if answer.status_code != httpx.codes.OK:
                raise Unanswered(f"it answers {answer.status_code}")
            for piece in answer.iter_bytes():
                size += len(piece)
                if size > MOST_BYTES or time.monotonic() > ends:
                    raise Unanswered("it is too large, or too slow")
                pieces.append(piece)
    except httpx.TimeoutException as error:
        raise Unanswered(f"no answer within {within_s:.0f} s") from error
    except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError) as error:
        raise Unanswered(f"it does not answer ({str(error).partition(chr(10))[0] or type(error).__name__})") from error
    return b"".join(pieces).decode("utf-8", "replace")


def together(asked: Mapping[str, Callable[[], str]], within_s: float) -> dict[str, str | Unanswered]:
    """Runs functions at the same time; returns their results by name. One that takes too long is left alone: its thread ends by itself, and
    holds up neither this program nor its end."""
    answers: queue.SimpleQueue[tuple[str, str | Unanswered]] = queue.SimpleQueue()

    def run(name: str, ask: Callable[[], str]) -> None:
        try:
            answers.put((name, ask()))
        except Unanswered as error:
            answers.put((name, error))
        except Exception as error:  # noqa: BLE001 (whatever a library raises: this page has no answer)
            answers.put((name, Unanswered(f"it cannot be asked ({type(error).__name__})")))

    for name, ask in asked.items():
        threading.Thread(target=run, args=(name, ask), name=f"ask {name}", daemon=True).start()
    found: dict[str, str | Unanswered] = {name: Unanswered(f"no answer within {within_s:.0f} s") for name in asked}
    ends = time.monotonic() + within_s
    for _ in asked:
        try:
            name, said = answers.get(timeout=max(0.0, ends - time.monotonic()))
        except queue.Empty:
            break
        found[name] = said
    return found


def _addresses(targets: str) -> tuple[str, ...]:
    """Returns where gateways show their metrics, from the list that Prometheus reads; what is none is left out."""
    try:
        groups = json.loads(targets)
        found = [one for group in groups if group["labels"]["job"] == "gateway" for one in group["targets"]]
    except (ValueError, KeyError, TypeError):
        return ()
    return tuple(dict.fromkeys(one for one in found if isinstance(one, str) and _ADDRESS.fullmatch(one)))


def _status(said: str) -> tuple[Mapping[str, Any], dict[str, list[str]]]:
    told = json.loads(said)
    facts, _ = seen.of_page(told)
    starting = {
        model: [f"replica {one['replica']} on {one['node']}: {one['told']}" for one in going]
        for model, going in told.get("starting", {}).items()
    }
    return facts, starting
