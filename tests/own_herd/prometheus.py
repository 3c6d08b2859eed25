"""A real Prometheus over real pages, and over recorded ones for what this machine has not."""

import contextlib
import re
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import yaml

from tests.prometheus_program import start

MONITORING = Path(__file__).parents[2] / "monitoring"
#: On a machine that starts engines a page may take a second.
SCRAPED_S = 2
#: Lines of counters in an exposition that stands still, so that a second makes them this much larger.
GROWTH_S = 1e-3

Labels = tuple[tuple[str, str], ...]
Series = dict[Labels, list[tuple[float, float]]]
"""Points by labels: seconds since 1970, and the value."""


class Prometheus:
    """A running Prometheus."""

    def __init__(self, address: str) -> None:
        self.address = address

    def at(self, query: str, when_s: float) -> dict[Labels, float]:
        """A query's values at a time, without those that are no number."""
        found = self._ask("query", query=query, time=f"{when_s:.3f}")
        values = {_labels(one): float(one["value"][1]) for one in found}
        return {labels: value for labels, value in values.items() if value == value}

    def over(self, query: str, first_s: float, last_s: float, step_s: float = 2) -> Series:
        """A query's values between two times, without those that are no number."""
        found = self._ask("query_range", query=query, start=f"{first_s:.3f}", end=f"{last_s:.3f}", step=f"{step_s}")
        series = {_labels(one): [(when, float(value)) for when, value in one["values"]] for one in found}
        return {labels: points for labels, all_points in series.items() if (points := [one for one in all_points if one[1] == one[1]])}

    def up(self) -> dict[str, int]:
        """Pages that answer, by job."""
        return {dict(labels)["job"]: int(value) for labels, value in self.at("sum by (job) (up)", time.time()).items()}

    def _ask(self, what: str, **parameters: str) -> list[dict[str, Any]]:
        answer = httpx.post(f"{self.address}/api/v1/{what}", data=parameters, timeout=60)
        assert answer.status_code == 200, f"{parameters}: {answer.text}"
        found: list[dict[str, Any]] = answer.json()["data"]["result"]
        return found


def _labels(one: Mapping[str, Any]) -> Labels:
    return tuple(sorted(one["metric"].items()))


@contextlib.contextmanager
def running(folder: Path, config: Mapping[str, Any]) -> Iterator[Prometheus]:
    """Runs Prometheus with a configuration and its data in a folder, while this lasts."""
    program = start(folder, config)
    try:
        yield Prometheus(program.address)
    finally:
        program.stop()


def configuration(herd: str, still: Sequence[Mapping[str, Any]] = (), rules: Sequence[Path] = ()) -> dict[str, Any]:
    """The one that operators get, for a herd on this machine, in a hurry; and these pages of others beside it.

    Args:
        herd: a gateway's address.
        still: groups of targets, as in a static configuration.
        rules: further files of rules.
    """
    config: dict[str, Any] = yaml.safe_load((MONITORING / "prometheus.yml").read_text(encoding="utf-8"))
    (found,) = config["scrape_configs"]
    found["http_sd_configs"] = [{"url": f"{herd}/-/targets", "refresh_interval": "1s"}]
    return {
        "global": config["global"] | {"scrape_interval": f"{SCRAPED_S}s", "evaluation_interval": "5s"},
        "rule_files": [*(str(MONITORING / path) for path in config["rule_files"]), *map(str, rules)],
        "scrape_configs": [found, {"job_name": "recorded", "static_configs": list(still)}],
    }


@contextlib.contextmanager
def served(pages: Mapping[str, str]) -> Iterator[dict[str, str]]:
    """Serves recorded expositions, each on a port of its own; their counters grow. Yields their addresses by name."""
    with contextlib.ExitStack() as stack:
        yield {name: stack.enter_context(_served(text)) for name, text in pages.items()}


@contextlib.contextmanager
def _served(text: str) -> Iterator[str]:
    began = time.monotonic()

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = grown(text, time.monotonic() - began).encode()
            self.send_response(200)
            self.send_header("content-type", "text/plain; version=0.0.4")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *_values: object) -> None:
            """Says nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join(timeout=10)


def grown(text: str, seconds: float) -> str:
    """An exposition whose counters have grown for so long."""
    growing = set(re.findall(r"^# TYPE (\S+) (?:counter|histogram)$", text, re.MULTILINE))

    def line(one: str) -> str:
        name = re.match(r"[\w:]+", one)
        if name is None or not {name[0], re.sub(r"_(bucket|sum|count)$", "", name[0])} & growing:
            return one
        rest, _, value = one.rpartition(" ")
        return f"{rest} {float(value) * (1 + GROWTH_S * seconds)}"

    return "\n".join(line(one) for one in text.splitlines()) + "\n"
