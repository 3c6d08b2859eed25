"""`herd chat`: a conversation in the terminal, streamed as it is generated.

Is a client of the endpoint like any other. Nothing of a conversation is kept.
"""

import json
from collections.abc import Iterator
from typing import Any

import httpx
from rich.console import Console

HELP = (
    "[dim]/system TEXT  sets the system prompt   /reset  forgets the conversation   /exit  ends (or Ctrl-D)   Ctrl-C stops an answer[/dim]"
)


class ChatError(RuntimeError):
    """The endpoint refused; the message is its own."""


def pieces(client: httpx.Client, model: str, messages: list[dict[str, str]], sampling: dict[str, Any]) -> Iterator[str]:
    """Yields the answer's text, piece by piece.

    Raises:
        ChatError: the endpoint cannot be reached, refused the request, or broke off.
    """
    body = {"model": model, "messages": messages, "stream": True, **sampling}
    try:
        with client.stream("POST", "/v1/chat/completions", json=body) as answer:
            if answer.status_code != 200:
                answer.read()
                raise ChatError(_message(answer))
            for line in answer.iter_lines():
                if line.startswith("data: {"):
                    yield _text(json.loads(line[6:]))
    except httpx.HTTPError as error:
        raise ChatError(f"{client.base_url} cannot be reached: {error}") from error


def _message(answer: httpx.Response) -> str:
    try:
        return str(answer.json()["error"]["message"])
    except (json.JSONDecodeError, KeyError, TypeError):
        return f"{answer.url} answered {answer.status_code}"


def _text(event: dict[str, Any]) -> str:
    if "error" in event:
        raise ChatError(str(event["error"].get("message", "the engine failed")))
    choices = event.get("choices") or [{}]
    return choices[0].get("delta", {}).get("content") or ""


class Conversation:
    """Keeps the messages so far, and carries out the lines that the user types."""

    def __init__(self, client: httpx.Client, card: dict[str, Any], console: Console, system: str | None, sampling: dict[str, Any]) -> None:
        """Starts a conversation without messages.

        Args:
            client: an HTTP client of the endpoint.
            card: the model, as the endpoint lists it.
            console: where it is shown.
            system: a system prompt.
            sampling: more fields of every request.
        """
        self._client = client
        self._model: str = card["id"]
        self._attribution = card["attribution"]
        self._console = console
        self._sampling = sampling
        self._messages: list[dict[str, str]] = []
        self._set_system(system)

    def run(self) -> None:
        """Reads lines until the user ends it."""
        built = f" {self._attribution}." if self._attribution else ""
        self._console.print(f"[bold]{self._model}[/bold] at {self._client.base_url}.{built}\n{HELP}")
        while True:
            try:
                line = self._console.input("[bold green]you ›[/bold green] ").strip()
            except (EOFError, KeyboardInterrupt):
                self._console.print()
                return
            if line == "/exit":
                return
            if line:
                self.take(line)

    def take(self, line: str) -> None:
        """Carries out one line: a command, or a message to be answered."""
        command, _, text = line.partition(" ")
        match command:
            case "/reset":
                self._messages = [message for message in self._messages if message["role"] == "system"]
            case "/system":
                self._set_system(text)
            case _ if command.startswith("/"):
                self._console.print(HELP)
            case _:
                self._answer(line)

    def _set_system(self, text: str | None) -> None:
        rest = [message for message in self._messages if message["role"] != "system"]
        self._messages = ([{"role": "system", "content": text}] if text else []) + rest

    def _answer(self, line: str) -> None:
        asked = [*self._messages, {"role": "user", "content": line}]
        said: list[str] = []
        try:
            for piece in pieces(self._client, self._model, asked, self._sampling):
                said.append(piece)
                self._console.print(piece, end="", markup=False, highlight=False, soft_wrap=True)
        except KeyboardInterrupt:
            self._console.print(" [dim](stopped)[/dim]", end="")
        except ChatError as error:
            self._console.print(f"[red]{error}[/red]")
            return
        self._console.print()
        self._messages = [*asked, {"role": "assistant", "content": "".join(said)}]
