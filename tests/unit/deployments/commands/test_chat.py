"""`herd chat`: the conversation over a real socket, its commands, Ctrl-C, pipes; and the endpoint that it asks."""

import io
import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from configs.load import environment
from deployments.commands.using import attachments, typed
from deployments.commands.using.answers import Answer, figures
from deployments.commands.using.cards import by_name, cards
from deployments.commands.using.conversation import CONTROL, Conversation, Screen
from deployments.commands.using.endpoint import at
from tests.unit.command_line import invoke
from tests.unit.deployments.commands.fake_gateway import Gateway, serving
from tests.unit.pictures import saved


@pytest.fixture
def gateway() -> Iterator[Gateway]:
    with serving() as one:
        yield one


class Talk:
    """A conversation, and what it has shown."""

    def __enter__(self) -> "Talk":
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()

    def __init__(self, gateway: Gateway, model: str = "scout", interactive: bool = True) -> None:
        self.out, self.err = io.StringIO(), io.StringIO()
        endpoint = at(gateway.url, None, environment({}))
        console = Console(file=self.err, width=200)
        screen = Screen(Console(file=self.out, width=200), console, console, interactive)
        self.client = endpoint.client()
        self.one = Conversation(self.client, by_name(cards(endpoint)), model, screen)

    def says(self, *lines: str) -> str:
        """Takes lines; returns what was shown beside the answers."""
        self.err.truncate(0)
        self.err.seek(0)
        for line in lines:
            self.one.take(line)
        return self.err.getvalue()


@pytest.fixture
def talk(gateway: Gateway) -> Iterator[Talk]:
    with Talk(gateway) as one:
        yield one


def test_answer_is_streamed_with_its_figures_and_the_conversation_goes_on(gateway: Gateway, talk: Talk) -> None:
    assert re.match(r"\(3 tokens, the first after \d+\.\d\d s", talk.says("What is a llama?"))
    assert talk.out.getvalue() == "A llama is an animal.\n"
    talk.says("And an alpaca?")
    asked = gateway.bodies[-1]
    assert asked["model"] == "llama-4-scout"
    assert [(one["role"], one["content"]) for one in asked["messages"]] == [
        ("user", "What is a llama?"),
        ("assistant", "A llama is an animal."),
        ("user", "And an alpaca?"),
    ]


def test_system_prompt_goes_first_and_stays_when_the_rest_is_forgotten(gateway: Gateway, talk: Talk) -> None:
    talk.says("/system Be brief.", "Hi", "/clear", "Hello")
    assert [one["content"] for one in gateway.bodies[-1]["messages"]] == ["Be brief.", "Hello"]
    talk.says("/system", "Again")
    assert gateway.bodies[-1]["messages"][0]["role"] == "user"


def test_sampling_of_the_command_line_is_in_every_request(gateway: Gateway, talk: Talk) -> None:
    talk.one.set_sampling(temperature=0.0, max_tokens=None)
    talk.says("Hi")
    assert gateway.bodies[-1]["temperature"] == 0.0
    assert "max_tokens" not in gateway.bodies[-1]


def test_pictures_and_texts_go_with_the_next_message_only(gateway: Gateway, talk: Talk, tmp_path: Path) -> None:
    (tmp_path / "a picture.png").write_bytes(saved("PNG"))
    (tmp_path / "b.jpg").write_bytes(saved("JPEG"))
    (tmp_path / "notes.txt").write_text("Llamas hum.", encoding="utf-8")
    told = talk.says(f"/image {tmp_path}/a picture.png", f"/image {tmp_path}/b.jpg", f"/file {tmp_path}/notes.txt", "What is this?")
    assert told.count("goes with the next message") == 3
    *pictures, said = gateway.bodies[-1]["messages"][0]["content"]
    assert [one["image_url"]["url"].partition(",")[0] for one in pictures] == ["data:image/png;base64", "data:image/jpeg;base64"]
    assert said["text"] == "File notes.txt:\n\nLlamas hum.\n\nWhat is this?"
    assert "at most 2 images in a conversation: /clear forgets those before" in talk.says(f"/image {tmp_path}/b.jpg")
    talk.says("And now?")
    assert gateway.bodies[-1]["messages"][-1]["content"] == "And now?"
    assert "goes with" in talk.says("/clear", f"/image {tmp_path}/b.jpg {tmp_path}/b.jpg")


def test_picture_for_a_model_without_images_is_refused_before_it_is_read(gateway: Gateway) -> None:
    with Talk(gateway, "smollm2") as talk:
        assert "smollm2-135m-instruct takes no images." in talk.says("/image /nowhere.png")
    assert gateway.bodies == []


@pytest.mark.parametrize(
    ("name", "data", "why"),
    [
        ("words.png", b"not a picture", "is not a JPEG, PNG, WebP or GIF file"),
        ("empty.png", b"", "is empty"),
        ("large.png", b"\x89PNG\r\n\x1a\n" + bytes(attachments.MOST_IMAGE_BYTES), "has more than 20,480 KiB"),
    ],
)
def test_file_that_is_no_picture_is_refused_with_the_reason(tmp_path: Path, name: str, data: bytes, why: str) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(attachments.CannotAttach, match=why):
        attachments.image(tmp_path / name)


@pytest.mark.parametrize(
    ("data", "why"),
    [(b"\xff\xfe", "is not text in UTF-8"), (b"a\0b", "is not text"), (b"a" * (attachments.MOST_TEXT_BYTES + 1), "more than 512 KiB")],
)
def test_file_that_is_no_text_is_refused_with_the_reason(tmp_path: Path, data: bytes, why: str) -> None:
    (tmp_path / "one").write_bytes(data)
    with pytest.raises(attachments.CannotAttach, match=why):
        attachments.text(tmp_path / "one")


@pytest.mark.parametrize(("words", "why"), [("/dev/zero", "is a device"), ("/nowhere", "No such file"), ("", "name a file"), ('"', "No")])
def test_words_that_name_no_file_are_refused(words: str, why: str, talk: Talk) -> None:
    assert why in talk.says(f"/file {words}")


def test_model_changes_and_is_told_what_was_said(gateway: Gateway, talk: Talk, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(saved("PNG"))
    assert "› llama-4-scout" in talk.says("/model")
    assert "Served: llama-4-scout, scout, smollm2" in talk.says("/model gpt-9")
    assert "more images than smollm2 takes" in talk.says(f"/image {tmp_path}/a.png", "/model smollm2")
    assert "smollm2-135m-instruct answers from here on" in talk.says("/clear", "Hi", "/model smollm2", "Hi again")
    assert gateway.bodies[-1]["model"] == "smollm2-135m-instruct"
    assert len(gateway.bodies[-1]["messages"]) == 3


def test_unknown_command_is_no_message_and_two_slashes_are_one(gateway: Gateway, talk: Talk) -> None:
    assert "There is no command /etc/passwd" in talk.says("/etc/passwd is what?")
    assert gateway.bodies == []
    talk.says("//etc/passwd is what?")
    assert gateway.bodies[-1]["messages"][0]["content"] == "/etc/passwd is what?"
    assert "/image FILE" in talk.says("/help")


def test_refusal_is_told_in_the_gateways_own_words_and_forgotten(gateway: Gateway, talk: Talk) -> None:
    gateway.refusal = {"message": "The prompt is too long."}
    assert talk.says("Hi") == "The prompt is too long. The message is not kept.\n"
    gateway.refusal = None
    talk.says("Hello")
    assert [one["content"] for one in gateway.bodies[-1]["messages"]] == ["Hello"]


def test_stream_that_breaks_off_is_no_answer(gateway: Gateway, talk: Talk) -> None:
    gateway.breaks_off = True
    assert "broke off in the middle of the answer. The message is not kept." in talk.says("Hi")


def test_terminal_gets_no_control_characters_of_a_model(gateway: Gateway, talk: Talk) -> None:
    gateway.pieces = ["\x1b]0;title\x07red \x1b[31mred\x1b[0m", "\x9b2J\r\b", "\ttab\n"]
    talk.says("Hi")
    assert talk.out.getvalue() == "red red2J\ttab\n\n"
    assert CONTROL.sub("", "wörter – 字") == "wörter – 字"


def test_figures_say_what_is_known() -> None:
    assert figures(Answer()) == "nothing was said"
    assert figures(Answer(tokens=1, first_s=0.5, last_s=0.5, pieces=1)) == "1 token, the first after 0.50 s"
    cut = Answer(tokens=101, first_s=1, last_s=3, pieces=40, finish="length")
    assert figures(cut) == "101 tokens, the first after 1.00 s, then 50 tokens/s; cut off by the longest answer that is allowed"
    assert figures(Answer(first_s=1, last_s=2, pieces=11)).startswith("about 11 tokens")


@pytest.mark.parametrize(
    ("lines", "messages"),
    [
        (["one", "two"], ["one", "two"]),
        (["one \\", "two\\", "three"], ["one \ntwo\nthree"]),
        (['"""one', "  two", '"""', "three"], ["one\n  two", "three"]),
        (['"""one"""'], ["one"]),
        (['"""one', "two"], ["one\ntwo"]),
        (["one\\"], ["one"]),
        (['"""', "/exit is a word", '"""'], ["/exit is a word"]),
    ],
)
def test_message_may_have_several_lines(lines: list[str], messages: list[str]) -> None:
    left = iter(lines)

    def read(_: str) -> str:
        try:
            return next(left)
        except StopIteration:
            raise EOFError from None

    assert [typed.message(read, "", "") for _ in messages] == messages
    with pytest.raises(EOFError):
        typed.message(read, "", "")


def run(gateway: Gateway, *words: str, stdin: str = "", **env: str) -> Any:
    given = {"OPENAI_API_KEY": None, **env}
    return invoke([*words, "--url", gateway.url], stdin=stdin, env=given)


def test_pipe_gets_answers_only_and_an_exit_code(gateway: Gateway) -> None:
    done = run(gateway, "chat", "scout", "--system", "Be brief.", stdin="Hi\n/exit\nnot this\n")
    assert (done.exit_code, done.stdout) == (0, "A llama is an animal.\n")
    assert "tokens/s" in done.stderr
    assert len(gateway.bodies) == 1
    gateway.refusal = {"message": "No."}
    assert run(gateway, "chat", "scout", stdin="Hi\n").exit_code == 1


def test_model_that_is_not_served_is_refused_with_those_that_are(gateway: Gateway) -> None:
    done = run(gateway, "chat", "gpt-9")
    assert done.exit_code == 1
    assert "'gpt-9' is not served here. Served: llama-4-scout, scout, smollm2, smollm2-135m-instruct." in done.stderr


def test_models_of_an_address_are_listed_without_a_herd_here(gateway: Gateway, tmp_path: Path) -> None:
    done = run(gateway, "models", "--json", HERD_STATE=str(tmp_path))
    assert [one["id"] for one in json.loads(done.stdout)] == ["llama-4-scout", "smollm2-135m-instruct"]
    assert "8,192" in run(gateway, "models").stdout


#: Runs the command as on a terminal, without one.
AS_TYPED = "import sys; sys.stdin.isatty = lambda: True; from deployments.commands.main import main; main(sys.argv[1:])"


def test_answer_that_is_stopped_closes_its_connection_and_the_chat_goes_on(gateway: Gateway) -> None:
    gateway.pieces, gateway.pace_s = ["word "] * 400, 0.05
    command = [sys.executable, "-c", AS_TYPED, "chat", "scout", "--url", gateway.url]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=Path(__file__).parents[4], stdin=pipe, stdout=pipe, stderr=pipe, bufsize=0) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdin.write(b"Count.\n")
        seen = b""
        while b"word word" not in seen:
            seen += child.stdout.read(1) or pytest.fail("it ended")
        child.send_signal(signal.SIGINT)
        assert gateway.hung_up.wait(60), "the connection was closed in the middle of the answer"
        gateway.pieces, gateway.pace_s = ["Fine."], 0.0
        out, err = child.communicate(b"Go on.\n/exit\n", timeout=60)
    assert child.returncode == 0, err
    assert b"Fine." in out
    assert b"(stopped: about" in err
    kept = gateway.bodies[-1]["messages"]
    assert [one["role"] for one in kept] == ["user", "assistant", "user"]
    assert kept[1]["content"].startswith("word word")
