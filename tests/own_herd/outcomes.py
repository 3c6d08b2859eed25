"""Traffic of every outcome at a herd, counted by whoever asks."""

import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx

from tests.e2e.conftest import Herd, wait_for
from tests.victims import process_of

SMOLLM, SCOUT = "smollm2-135m-instruct", "llama-4-scout-tiny"
#: Long enough for a gateway to look for a replica that has its beginning.
LONG = "A herd of llamas walks over the mountains and carries wool, salt and letters. " * 30
MANY = 24
"""Requests at once: more than both replicas run and the line holds."""


class Traffic:
    """Asks, and counts what came of it."""

    def __init__(self, herd: Herd, picture: dict[str, Any]) -> None:
        self._herd = herd
        self._picture = picture
        self._lock = threading.Lock()
        self.outcomes = Counter[str]()
        self.codes = Counter[str]()
        self.endpoints = Counter[str]()
        self.tokens = Counter[str]()
        self.seen: list[str] = []
        """The fallback that answered, of each answer; empty where it was the named model itself."""

    def round(self) -> None:
        """One of every outcome but the loss of a replica."""
        with ThreadPoolExecutor(2) as pool:
            late = pool.submit(self.too_long)
            for number in range(3):
                self.whole(f"{LONG} Name llama {number}.")
                self.stream(f"Count the llamas of herd {number}.", tokens=12)
            self.with_image()
            self.wrong()
            self.hang_up()
            late.result(timeout=120)
        self.too_many()
        self.by_another()

    def whole(self, prompt: str, model: str = SMOLLM, **more: Any) -> None:
        """A chat that is answered at once."""
        self._told(
            "chat",
            self._post("chat/completions", {"model": model, "messages": [{"role": "user", "content": prompt}], "max_tokens": 8, **more}),
        )

    def with_image(self) -> None:
        """A chat about an image."""
        content = [{"type": "text", "text": "What is it?"}, self._picture]
        self._told(
            "chat", self._post("chat/completions", {"model": SCOUT, "messages": [{"role": "user", "content": content}], "max_tokens": 4})
        )

    def stream(self, prompt: str, tokens: int, begun: threading.Semaphore | None = None) -> None:
        """A streamed chat, with its usage."""
        body = {
            "model": SMOLLM,
            "messages": [{"role": "user", "content": prompt}],
            "max_tokens": tokens,
            "ignore_eos": True,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        with httpx.stream("POST", f"{self._herd.endpoint}/v1/chat/completions", json=body, timeout=240) as answer:
            usage = ""
            for number, line in enumerate(answer.iter_lines()):
                if number == 8 and begun is not None:
                    begun.release()
                usage = line if '"usage":{' in line else usage
        assert answer.status_code == 200
        if not usage:  # it has ended with an error: there was no time on a machine that has much else to do
            self._refused("timeout", "chat", httpx.Response(504, json={"error": {"code": "timeout"}}))
            return
        self._count("ok", "chat", httpx.Response(200, content=usage.removeprefix("data: ")).json()["usage"])

    def wrong(self) -> None:
        """Requests that are the client's own fault."""
        for body in (
            {"model": SMOLLM, "messages": [], "max_tokens": -1},
            {"model": "nobody", "messages": [{"role": "user", "content": "x"}]},
        ):
            answer = self._post("chat/completions", body)
            assert 400 <= answer.status_code < 500, answer.text
            self._refused("client_error", "chat", answer)

    def hang_up(self) -> None:
        """A client that goes in the middle of a stream."""
        body = {"model": SMOLLM, "prompt": "x", "max_tokens": 400, "ignore_eos": True, "stream": True}
        with httpx.stream("POST", f"{self._herd.endpoint}/v1/completions", json=body, timeout=60) as answer:
            next(answer.iter_lines())
        self._count("cancelled", "completions", None)

    def too_long(self) -> None:
        """An answer that takes longer than `gateway.limits.total_s`."""
        self._told(
            "completions", self._post("completions", {"model": SMOLLM, "prompt": "x", "max_tokens": 1900, "n": 4, "ignore_eos": True})
        )

    def too_many(self) -> None:
        """More requests at once than there is room for."""

        def one(_number: int) -> None:
            self._told("completions", self._post("completions", {"model": SMOLLM, "prompt": "x", "max_tokens": 96, "ignore_eos": True}))

        with ThreadPoolExecutor(MANY) as pool:
            list(pool.map(one, range(MANY)))

    def by_another(self) -> None:
        """A request whose model is full, and which its fallback answers."""
        with ThreadPoolExecutor(6) as pool:
            body = {"model": SCOUT, "prompt": "x", "max_tokens": 150, "ignore_eos": True}
            asked = [pool.submit(self._post, "completions", body) for _ in range(6)]
            for one in asked:
                self._told("completions", one.result(timeout=120))

    def while_one_dies(self) -> None:
        """Streams that outlive their replica; ends when there is another one in its place."""
        begun, victim = threading.Semaphore(0), self._herd.replica(SMOLLM)
        with ThreadPoolExecutor(4) as pool:
            streams = [pool.submit(self.stream, f"Tell of llama {number}.", 40, begun) for number in range(4)]
            for _ in streams:
                assert begun.acquire(timeout=120)
            process_of(victim).kill()
            for stream in streams:
                stream.result(timeout=240)
        gone = lambda: victim["id"] not in [one["id"] for one in self._herd.replicas(SMOLLM)]  # noqa: E731
        wait_for("the dead replica is out", gone, within_s=30)
        wait_for("another replica", lambda: len(self._herd.replicas(SMOLLM)) == 2, within_s=240, every_s=1)
        time.sleep(3)

    def _told(self, endpoint: str, answer: httpx.Response) -> None:
        """Counts an answer: it is whole, or there was no room, or no time on a machine that has much else to do."""
        if answer.status_code == 200:
            self._count("ok", endpoint, answer.json()["usage"])
            self.seen.append(answer.json()["model"] if "x-fallback-from" in answer.headers else "")
        else:
            self._refused({429: "overloaded", 504: "timeout"}[answer.status_code], endpoint, answer)

    def _post(self, path: str, body: dict[str, Any]) -> httpx.Response:
        return httpx.post(f"{self._herd.endpoint}/v1/{path}", json=body, timeout=120)

    def _refused(self, outcome: str, endpoint: str, answer: httpx.Response) -> None:
        with self._lock:
            self.codes[answer.json()["error"]["code"] or "invalid_request"] += 1
        self._count(outcome, endpoint, None)

    def _count(self, outcome: str, endpoint: str, usage: dict[str, Any] | None) -> None:
        with self._lock:
            self.outcomes[outcome] += 1
            self.endpoints[endpoint] += 1
            if usage is not None:
                self.tokens["prompt"] += usage["prompt_tokens"]
                self.tokens["completion"] += usage["completion_tokens"]
