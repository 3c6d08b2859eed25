"""`herd chat`: a conversation in the terminal, streamed as it is generated.

Is a client of the endpoint like any other. Nothing of a conversation is kept. Answers go to standard output, all else to standard error.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import httpx
from rich.console import Console
from rich.text import Text

from deployments.commands.terminal import put
from deployments.commands.using.answers import Answer, ChatError, figures, generated
from deployments.commands.using.attachments import CannotAttach, image, paths, text
from deployments.commands.using.cards import Card

HINT = "/help shows the commands. Ctrl-C stops an answer, Ctrl-D ends the chat."
HELP = """\
/image FILE …  puts pictures into the next message    /system TEXT  sets the system prompt; without a text, none
/file FILE …   puts the text of files into it         /model NAME   goes on with another model; without a name, lists them
/clear         forgets the conversation               /exit         ends the chat, as Ctrl-D does
A line that ends with \\ goes on in the next one; \"\"\" begins and ends a block of lines. A message may begin with // for one slash."""
#: Sequences that would move a terminal's cursor, set its title or answer as the user; and control characters but tab and newline.
CONTROL = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?)?|[\x00-\x08\x0b-\x1f\x7f-\x9f]")


@dataclass(frozen=True, slots=True)
class Screen:
    """Where a chat is shown."""

    out: Console
    """Takes answers."""
    err: Console
    """Takes refusals, and what a command of the chat tells."""
    hints: Console
    """Takes figures and hints."""
    interactive: bool
    """A person types: Ctrl-C then stops an answer only, and not the chat."""


@dataclass(slots=True)
class Pending:
    """Parts that the next message takes along."""

    images: list[dict[str, Any]] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)

    def message(self, said: str) -> dict[str, Any]:
        """Returns the message of a user who says this."""
        whole = "\n\n".join([*self.texts, said])
        return {"role": "user", "content": [*self.images, {"type": "text", "text": whole}] if self.images else whole}


class Conversation:
    """Keeps the messages so far, and carries out the lines that the user types."""

    def __init__(self, client: httpx.Client, models: dict[str, Card], model: str, screen: Screen) -> None:
        """Starts a conversation without messages.

        Args:
            client: an HTTP client of the endpoint.
            models: the cards of all models, by every name.
            model: the model to talk to, by one of its names.
            screen: where it is shown.
        """
        self._client = client
        self._models = models
        self._card = models[model]
        self._screen = screen
        self._sampling: dict[str, Any] = {}
        self._system = ""
        self._messages: list[dict[str, Any]] = []
        self._pending = Pending()
        self.failed = False
        """A message had no whole answer, or a command was refused."""
        self._commands: dict[str, Callable[[str], None]] = {
            "/help": lambda _: self._tell(HELP),
            "/clear": lambda _: self._clear(),
            "/system": self.set_system,
            "/model": self._change_model,
            "/image": self._attach_images,
            "/file": self._attach_texts,
        }

    def set_system(self, prompt: str) -> None:
        """Sets the system prompt, from the next message on; an empty one is none."""
        self._system = prompt

    def set_sampling(self, **fields: float | None) -> None:
        """Sets fields of every request; those that are None are left to the endpoint."""
        self._sampling = {name: value for name, value in fields.items() if value is not None}

    def welcome(self) -> None:
        """Tells which model answers, and how to get help."""
        built = f" {self._card['attribution']}." if self._card.get("attribution") else ""
        self._hint(f"{self._card['id']} at {self._client.base_url}.{built}\n{HINT}")

    def run(self, read: Callable[[], str]) -> None:
        """Takes messages until the user ends the chat. Ctrl-C drops the line that a person types; where nobody types, it ends all."""
        while True:
            try:
                line = read()
            except EOFError:
                if self._screen.interactive:
                    self._screen.err.print()
                return
            except KeyboardInterrupt:
                if not self._screen.interactive:
                    raise
                self._hint("\nCtrl-D or /exit ends the chat.")
                continue
            if line in ("/exit", "/quit", "/bye"):
                return
            if line:
                self.take(line)

    def take(self, line: str) -> None:
        """Carries out one line: a command, or a message to be answered."""
        word, _, rest = line.partition(" ")
        if not word.startswith("/") or word.startswith("//"):
            self._answer(line[1:] if word.startswith("//") else line)
        elif word in self._commands:
            self._commands[word](rest.strip())
        else:
            self._refuse(f"There is no command {word}. /help shows all; a message that begins with a slash begins with two.")

    def _clear(self) -> None:
        self._messages, self._pending = [], Pending()
        self._tell("The conversation is forgotten; the system prompt stays." if self._system else "The conversation is forgotten.")

    def _change_model(self, name: str) -> None:
        if not name:
            self._tell("\n".join(f"{'›' if card is self._card else ' '} {known}" for known, card in sorted(self._models.items())))
        elif name not in self._models:
            self._refuse(f"'{name}' is not served here. Served: {', '.join(sorted(self._models))}.")
        elif self._pictures() > _images_of(self._models[name]):
            self._refuse(f"The conversation has more images than {name} takes. /clear forgets them.")
        else:
            self._card = self._models[name]
            self._tell(f"{self._card['id']} answers from here on; it is told the conversation so far.")

    def _attach_images(self, words: str) -> None:
        try:
            for path in paths(words):
                most = _images_of(self._card)
                if self._pictures() >= most:
                    kept = f"at most {most} images in a conversation: /clear forgets those before" if most else "no images"
                    raise CannotAttach(f"{self._card['id']} takes {kept}")
                self._pending.images.append(image(path))
                self._tell(f"{path.name} goes with the next message.")
        except CannotAttach as error:
            self._refuse(f"{error}.")

    def _attach_texts(self, words: str) -> None:
        try:
            for path in paths(words):
                self._pending.texts.append(text(path))
                self._tell(f"{path.name} goes with the next message.")
        except CannotAttach as error:
            self._refuse(f"{error}.")

    def _pictures(self) -> int:
        contents = [message["content"] for message in self._messages]
        before = [part for content in contents if isinstance(content, list) for part in content if part["type"] == "image_url"]
        return len(before) + len(self._pending.images)

    def _answer(self, line: str) -> None:
        asked, answer = [*self._messages, self._pending.message(line)], Answer()
        system = [{"role": "system", "content": self._system}] if self._system else []
        self._pending = Pending()
        try:
            for piece in generated(self._client, {"model": self._card["id"], "messages": [*system, *asked], **self._sampling}, answer):
                self._screen.out.file.write(CONTROL.sub("", piece))  # as it is: the console would expand tabs in each piece
                self._screen.out.file.flush()
        except KeyboardInterrupt:
            self._ended(answer)
            if not self._screen.interactive:
                raise
            self._hint(f"(stopped: {figures(answer)})")
        except ChatError as error:
            self._ended(answer)
            self._refuse(f"{error} The message is not kept." if str(error).endswith(".") else f"{error}. The message is not kept.")
            return
        else:
            self._ended(answer)
            self._hint(f"({figures(answer)})")
        if answer.text:
            self._messages = [*asked, {"role": "assistant", "content": answer.text}]

    def _ended(self, answer: Answer) -> None:
        if answer.text:
            self._screen.out.print()

    def _refuse(self, sentence: str) -> None:
        self.failed = True
        put(self._screen.err, Text(sentence, "red"))

    def _tell(self, sentence: str) -> None:
        put(self._screen.err, Text(sentence, "dim"))

    def _hint(self, sentence: str) -> None:
        put(self._screen.hints, Text(sentence, "dim"))


def _images_of(card: Card) -> int:
    """Returns the images that a prompt may have; an endpoint that does not say so is asked, and may refuse."""
    most = card.get("max_images_per_prompt")
    return 10 if most is None else int(most)
