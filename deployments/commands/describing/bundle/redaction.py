"""Takes secrets out of texts: those whose values are known, and what looks like one.

Decides what looks like a secret. Too much is taken out rather than too little: a word behind `key` is lost with it. JSON stays JSON.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from configs.node_environment import SECRET_WORDS

REMOVED = "[removed]"
#: A shorter value would be taken out of words that have it by chance.
LEAST_LENGTH = 6
_WORDS = "|".join(sorted(SECRET_WORDS | {"CREDENTIAL", "PASSPHRASE"}))
#: Each with the groups that stay.
_PATTERNS = (
    (re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL), REMOVED),
    (re.compile(r"(\b[a-z][a-z0-9+.-]*://[^/\s:@]*:)[^/\s@]+@", re.IGNORECASE), rf"\1{REMOVED}@"),
    (re.compile(r"\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]{6,}", re.IGNORECASE), rf"\1 {REMOVED}"),
    (
        re.compile(
            rf"((?:{_WORDS})\\?[\"']?\s*[=:]\s*\\?[\"']?)"  # a name, and a sign that a value follows
            rf"(?!(?<=\": )[\d.]+[,}}\]\s])[^\s\"',;\\\[{{]{{6,}}",  # which is no number of a JSON document
            re.IGNORECASE,
        ),
        rf"\1{REMOVED}",
    ),
    (re.compile(r"\b(?:hf_|sk-|ghp_|github_pat_|glpat-|xox[bp]-|AKIA|ASIA)[A-Za-z0-9_-]{10,}"), REMOVED),
    (re.compile(r"(--[a-z-]*(?:token|password|secret|key)[ =]\"?)[^\s\"]{6,}"), rf"\1{REMOVED}"),
)
#: Fields of a config that may hold a secret by mistake: commands that print one.
_COMMANDS = ("secret_command", "command")


def redacted(text: str, secrets: Iterable[str]) -> str:
    """Returns a text without these secrets, and without what looks like one."""
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, REMOVED)
    for pattern, instead in _PATTERNS:
        text = pattern.sub(instead, text)
    return text


def without_commands(config: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a config without the commands that print secrets: one that says `echo hunter2` is a secret."""
    return {name: REMOVED if name in _COMMANDS and value else _inside(value) for name, value in config.items()}


def _inside(value: Any) -> Any:  # noqa: ANN401 (whatever a config has)
    if isinstance(value, Mapping):
        return without_commands(value)
    return [_inside(one) for one in value] if isinstance(value, list | tuple) else value


def secrets_in(environ: Mapping[str, str]) -> set[str]:
    """Returns the values of those variables that are secrets by their names."""
    named = {value for name, value in environ.items() if SECRET_WORDS & set(name.upper().split("_"))}
    return {value for value in named if len(value) >= LEAST_LENGTH and not value.startswith("/")}
