"""Clients of a model that goes up and down: a step of load, and streams that go on all the while."""

import threading
import time
from abc import ABC, abstractmethod
from typing import Self

import httpx

from tests.e2e.conftest import Herd

#: How long a client waits for an answer.
ANSWER_S = 360.0


class Clients(ABC):
    """Clients that ask one question after the other, until the end of a `with`."""

    def __init__(self, herd: Herd, model: str, clients: int, tokens: int) -> None:
        self._url = f"{herd.endpoint}/v1/completions"
        self._body = {"model": model, "max_tokens": tokens, "temperature": 0, "ignore_eos": True}
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._asks, args=(number,), daemon=True) for number in range(clients)]
        self.answers, self.failures = 0, list[str]()

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(timeout=ANSWER_S)

    def _asks(self, client: int) -> None:
        with httpx.Client(timeout=ANSWER_S) as asking:
            while not self._over.is_set():
                try:
                    self._ask(asking, client)
                    self.answers += 1
                except Exception as error:  # noqa: BLE001 (whatever a client sees: the test shows it)
                    self.failures.append(f"{time.strftime('%H:%M:%S')} {type(error).__name__}: {error}")
                    time.sleep(1)

    @abstractmethod
    def _ask(self, asking: httpx.Client, client: int) -> None:
        """Asks one question; raises where its answer is not whole."""


class Step(Clients):
    """Short questions, each another one."""

    def _ask(self, asking: httpx.Client, client: int) -> None:
        answer = asking.post(self._url, json=self._body | {"prompt": f"Client {client} counts {self.answers} llamas:"})
        assert answer.status_code == 200, answer.text
        assert answer.json()["usage"]["completion_tokens"] == self._body["max_tokens"]


class Streams(Clients):
    """Long answers, which are streams: each client asks one question again and again, and gets the same answer."""

    def __init__(self, herd: Herd, model: str, clients: int, tokens: int) -> None:
        super().__init__(herd, model, clients, tokens)
        self.texts = set[tuple[int, str]]()
        """Each client's answers."""

    def _ask(self, asking: httpx.Client, client: int) -> None:
        body = self._body | {"prompt": f"{client + 2} herds of llamas", "stream": True, "stream_options": {"include_usage": True}}
        with asking.stream("POST", self._url, json=body) as answer:
            lines = [line for line in answer.iter_lines() if line]
        assert answer.status_code == 200, lines
        assert lines[-1] == "data: [DONE]", lines[-1]
        events = [httpx.Response(200, content=line.removeprefix("data: ")).json() for line in lines[:-1]]
        assert events[-1]["usage"]["completion_tokens"] == self._body["max_tokens"], lines[-2]
        self.texts.add((client, "".join(choice["text"] for event in events for choice in event["choices"])))
