"""The manners of `herd`: words that hold for every command, exit codes, versions, completion, and texts at 80 columns and in a pipe."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from deployments.__main__ import split
from deployments.commands import versions
from deployments.commands.terminal import EXIT_CODES, put
from deployments.commands.using.known_names import known_names
from deployments.commands.using.models import models_table
from tests.unit.command_line import invoke
from tests.unit.deployments.commands.fake_gateway import BLIND, SEEING, serving

ROOT = Path(__file__).parents[4]
GOLDEN = Path(__file__).parent / "golden"


def given(**env: str) -> dict[str, str]:
    """An environment with a terminal of 80 columns, and with the colours that a command would have."""
    kept = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "HERD_QUIET")}
    return kept | {"COLUMNS": "80", "HERD_SECRET": "", **env}


def herd(*words: str, stdin: str = "", **env: str) -> "subprocess.CompletedProcess[str]":
    """Runs the command in a pipe."""
    command = [sys.executable, "-m", "deployments", *words]
    return subprocess.run(command, env=given(**env), cwd=ROOT, capture_output=True, text=True, input=stdin, timeout=60, check=False)


def in_one_process(*lines: tuple[str, ...]) -> list[str]:
    """Standard outputs of these command lines, as `herd` gives them: a process takes a second to import the commands."""
    program = (
        "import json, sys\nfrom deployments.commands.main import main\n"
        "for words in json.loads(sys.argv[1]):\n try: main(words)\n except SystemExit: print(end='\\0')"
    )
    command = [sys.executable, "-c", program, json.dumps(lines)]
    done = subprocess.run(command, env=given(), cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    *texts, rest = done.stdout.split("\0")
    assert rest == ""
    return texts


@pytest.mark.parametrize(
    ("words", "ours", "others"),
    [
        (["--quiet", "up", "x.yaml"], ["--quiet"], ["up", "x.yaml"]),
        (["up", "x.yaml", "--no-color", "--quiet"], ["--no-color", "--quiet"], ["up", "x.yaml"]),
        (["chat", "--", "--quiet"], [], ["chat", "--", "--quiet"]),
        ([], [], []),
    ],
)
def test_words_for_every_command_may_stand_anywhere(words: list[str], ours: list[str], others: list[str]) -> None:
    assert split(words) == (ours, others)


def test_no_color_and_quiet_hold_before_and_behind_the_name_of_a_command(tmp_path: Path) -> None:
    with serving() as gateway:
        loud = herd("chat", "scout", "--url", gateway.url, stdin="Hi\n", FORCE_COLOR="1")
        assert "\x1b[" in loud.stderr
        assert "\x1b[3" not in herd("chat", "gpt-9", "--url", gateway.url, "--no-color", FORCE_COLOR="1").stderr
        quiet = herd("--quiet", "chat", "scout", "--url", gateway.url, stdin="Hi\n")
        assert (quiet.stdout, quiet.stderr) == ("A llama is an animal.\n", "")
        failed = herd("chat", "gpt-9", "--url", gateway.url, "--quiet")
        assert failed.returncode == 1
        assert "is not served here" in failed.stderr
    assert "\x1b[3" not in herd("plan", "llama-4-scout", "--no-color", FORCE_COLOR="1").stdout


def test_version_names_what_is_installed() -> None:
    lines = dict(line.split() for line in invoke(["--version"]).stdout.splitlines())
    assert {"herd", "ray", "torch", "python"} <= lines.keys()
    assert lines["python"] == ".".join(map(str, sys.version_info[:3]))


def test_version_imports_neither_ray_nor_vllm_nor_torch_and_no_command() -> None:
    program = (
        "import sys\nfrom deployments.commands.main import main\ntry: main(['--version'])\nexcept SystemExit: pass\n"
        "print({'ray', 'vllm', 'torch'} & set(sys.modules), file=sys.stderr)\n"
        "print(*sorted(name for name in sys.modules if name.startswith('deployments.')), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("herd ")
    rooms = ("", ".main", ".terminal", ".versions")
    assert done.stderr.splitlines() == ["set()", " ".join(f"deployments.commands{room}" for room in rooms)]


def test_package_that_is_not_installed_has_no_version(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(versions, "TOLD", ("llama-herd", "no-such-package"))
    assert versions.versions().keys() == {"herd", "python"}
    assert "pydantic" in versions.installed()


def test_exit_codes_are_those_of_the_page() -> None:
    page = (ROOT / "deployments/README.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| (\d+) \| (.*?) \|$", page, re.MULTILINE))
    assert {int(code): said for code, said in rows.items()} == dict(EXIT_CODES)


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["--version"], 0),
        (["models", "--url", "http://127.0.0.1:9"], 1),
        (["models", "--no-such-option"], 2),
        (["bench", "--rate", "1", "--concurrency", "1"], 2),
        (["validate", "/nowhere.yaml"], 3),
    ],
)
def test_exit_code_says_what_became_of_it(words: list[str], code: int) -> None:
    assert code in EXIT_CODES
    assert invoke(words).exit_code == code


def test_shell_completes_names_of_models_that_are_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HERD_STATE", str(tmp_path))
    for name, text in (("one", '{"models": [{"id": "llama-4-scout", "aliases": ["scout"]}, {"id": "smollm2"}]}'), ("broken", "{")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text(text, encoding="utf-8")
    assert known_names("s") == ["scout", "smollm2"]
    env = {"_HERD_COMPLETE": "complete_bash", "COMP_WORDS": "herd chat sc", "COMP_CWORD": "2", "HERD_STATE": str(tmp_path)}
    assert herd(**env).stdout.split() == ["scout"]
    named = {"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}  # else it looks for a shell among the programs that run this test
    assert "complete" in herd("--show-completion", "bash", **named).stdout


def golden(name: str, text: str) -> None:
    """Compares with a text that somebody has looked at; `HERD_GOLDEN=1` writes it anew."""
    path = GOLDEN / f"{name}.txt"
    said = "\n".join(line.rstrip() for line in text.splitlines()) + "\n"
    if os.environ.get("HERD_GOLDEN"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(said, encoding="utf-8")
    assert said == path.read_text(encoding="utf-8"), "look at the difference, then run this test with HERD_GOLDEN=1"
    assert max(map(len, said.splitlines())) <= 80


def test_help_at_80_columns_is_as_it_was_looked_at() -> None:
    names = ("chat", "bench", "models", "support-bundle")
    for name, text in zip(names, in_one_process(*((name, "--help") for name in names)), strict=True):
        golden(f"help-{name}", text)


def shown(*what: Any) -> str:
    console = Console(width=80, highlight=False, no_color=True)
    with console.capture() as captured:
        console.print(*what)
    return captured.get()


def test_table_of_models_at_80_columns_breaks_no_name() -> None:
    golden(
        "models", shown(models_table([SEEING, BLIND | {"aliases": ["smollm2", "words", "the-small-one-with-a-long-name"]}, {"id": "bare"}]))
    )


#: Longer than a line, and with all that a terminal's own breaking or a box would cut.
LONG = "/srv/herds/of/the/whole/company/in/one/very/deep/folder/that/nobody/ever/tidied-up/herd.yaml"


def at_a_terminal(words: list[str], columns: int = 80) -> str:
    """Returns the output of a command at a terminal that is so wide, without its colours."""
    done = herd(*words, COLUMNS=str(columns), FORCE_COLOR="1", TTY_COMPATIBLE="1")
    return re.sub(r"\x1b\[[0-9;]*m", "", done.stderr + done.stdout)


@pytest.mark.parametrize(
    "words",
    [
        ["validate", LONG],
        ["simulate", LONG, "--load", "step:2@300"],
        ["plan", "no-such-model"],
        ["models", "--url", "http://127.0.0.1:9/a/path/that/is/longer/than/all/lines/of/this/terminal/are/and/then/some"],
        ["logs", "scout", "--grep", f"({LONG}"],
        ["cluster", "emit", LONG, "--provider", f"onprem{LONG}"],
        ["scale", "scout", LONG],
    ],
    ids=lambda words: words[0],
)
def test_error_at_a_terminal_breaks_between_words_only(words: list[str]) -> None:
    lines = at_a_terminal(words).splitlines()
    assert all(len(line) <= 80 or len(line.split()) == 1 for line in lines), lines
    assert "".join(at_a_terminal(words, 1000).split()) == "".join("".join(lines).split())
    given = {word for word in words if len(word) > 80}
    assert all(any(word in line for line in lines) for word in given if word in at_a_terminal(words, 1000))


def test_error_in_a_pipe_is_one_line() -> None:
    assert herd("plan", "no-such-model").stderr.count("\n") == 1
    assert LONG in herd("logs", "scout", "--grep", f"({LONG}").stderr


@pytest.mark.parametrize(
    ("text", "width", "indent", "lines"),
    [
        ("a bc def", 80, "", ["a bc def"]),
        ("aaa bbb ccc", 7, "", ["aaa bbb", "ccc"]),
        ("aaa bbb ccc ddd", 7, "  ", ["aaa bbb", "  ccc", "  ddd"]),
        ("a /b/c/d/e/f g", 6, "  ", ["a", "  /b/c/d/e/f", "  g"]),
        ("  /b/c/d/e/f g", 6, "", ["  /b/c/d/e/f", "g"]),
        ("ラマ ラマ", 8, "", ["ラマ", "ラマ"]),
        ("a b\n\nc", 80, "  ", ["a b", "", "c"]),
        ("", 80, "", [""]),
    ],
)
def test_lines_break_between_words(text: str, width: int, indent: str, lines: list[str]) -> None:
    console = Console(width=width, force_terminal=True, color_system=None, highlight=False)
    with console.capture() as captured:
        put(console, text, indent)
    assert captured.get() == "\n".join(lines) + "\n"
