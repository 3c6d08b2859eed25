"""The project's pages in Markdown, taken apart for the tests: prose, code blocks, links, words of `herd`.

Decides what counts as a command, a link or a path in a page. What must be true of them is in `test_documents` and `test_decisions`.
"""

import ast
import re
import shlex
from pathlib import Path

ROOT = Path(__file__).parents[2]
FOLDERS = ("configs", "cluster", "deployments", "monitoring", "tests")
PAGES = sorted([*ROOT.glob("*.md"), *(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.md"))])
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]

_FENCE = re.compile(r"^ *```(\w*)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)


def text_of(name: str) -> str:
    """Reads a page by its path in the repository."""
    return (ROOT / name).read_text(encoding="utf-8")


def blocks(text: str, language: str) -> list[str]:
    """Returns a page's code blocks of a language (`sh`, `yaml`, `python`)."""
    return [code for name, code in _FENCE.findall(text) if name == language]


def prose(text: str) -> str:
    """Returns a page without its code blocks."""
    return _FENCE.sub("", text)


def links(text: str) -> list[str]:
    """Returns the targets of a page's links that point into the repository."""
    targets = re.findall(r"\]\(([^)\s]+)\)", re.sub(r"`[^`]*`", "", prose(text)))
    return [target for target in targets if "://" not in target]


def anchors(text: str) -> set[str]:
    """Returns the anchors of a page's headings, made as GitHub makes them: lower case, no punctuation, hyphens for spaces."""
    headings = re.findall(r"^#+ (.*)$", prose(text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def in_backticks(text: str) -> list[str]:
    """Returns what stands in backticks in a page's prose; a line's end inside of them is a space."""
    return [re.sub(r"\s+", " ", code) for code in re.findall(r"`([^`]+)`", prose(text))]


def typed_commands(text: str) -> list[list[str]]:
    """Returns the words behind `herd` of every command in a page's shell blocks, also of those behind a pipe, inside `$(…)` or quotes."""
    lines = [re.sub(r"(^|\s)#.*", "", line) for code in blocks(text, "sh") for line in code.splitlines()]
    return [shlex.split(words) for line in lines for words in re.findall(r"(?:^|\| |['(])herd ((?:\"[^\"]*\"|[^'\"()|>])*)", line)]


def named_commands(text: str) -> list[list[str]]:
    """Returns the words behind `herd` of every command in a page's prose, without brackets and dots that stand for more."""
    named = [code.removeprefix("herd ") for code in in_backticks(text) if code.startswith("herd ")]
    return [[word for word in re.sub(r"[\[\]…]", " ", one).split() if word] for one in named]


def sentences_of_code(file: Path) -> list[str]:
    """Returns the texts of a module; what is filled into one is an X."""
    found = []
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.JoinedStr):
            found.append("".join(str(part.value) if isinstance(part, ast.Constant) else "X" for part in node.values))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found.append(node.value)
    return found
