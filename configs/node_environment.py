"""The things that every node of a cluster gets beside Ray: variables, secrets, folders and devices.

Decides which of these may stand in a file. The value of a secret is never a field: a node reads it when its Ray starts.
"""

from collections.abc import Iterable
from pathlib import PurePosixPath
from typing import Annotated, Self

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints, model_validator

from configs.keys import ROOT, VARIABLES
from configs.strict import Strict

#: The head's Ray shows Redis this password.
REDIS_PASSWORD = "HERD_REDIS_PASSWORD"
#: The last word of a variable's name that says: this is a secret.
SECRET_WORDS = frozenset({"TOKEN", "PASSWORD", "PASSWD", "SECRET", "KEY", "CREDENTIALS"})
#: Every node sets these itself.
OF_THE_NODE = {
    "VLLM_HOST_IP": "is another one on each node, which finds it by itself",
    "RAY_AUTH_MODE": "is always `token` here",
    "RAY_ADDRESS": "would lead every command of a node to that address",
    "RAY_HEAD_IP": "is Ray's own",
}


def _absolute(path: object) -> object:
    if isinstance(path, str) and not path.startswith("/"):
        raise ValueError(f"must be an absolute path (got {path!r}): Docker and Kubernetes refuse others, and do not know `~`")
    return path


def _below_root(path: str) -> str:
    """Refuses a folder that no container can be shown."""
    one = PurePosixPath(path)
    if not one.name or ".." in one.parts:
        raise ValueError(f"{path} cannot be shown to a container: name a folder below /, without `..`")
    return path


def _one_line(value: str) -> str:
    if not value.isprintable():
        raise ValueError("must be one line of printable characters")
    return value


def _as_text(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError(f'{str(value).lower()} is a word of YAML, and programs have several for it: write the text in quotes, such as "1"')
    return str(value) if isinstance(value, int | float) else value


Absolute = Annotated[str, StringConstraints(pattern=r"^/[A-Za-z0-9._/+-]{0,199}$"), BeforeValidator(_absolute)]
Folder = Annotated[Absolute, AfterValidator(_below_root)]
Device = Annotated[str, StringConstraints(pattern=r"^/dev/[A-Za-z0-9._/-]{1,100}$")]
Variable = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,63}$")]
Value = Annotated[str, StringConstraints(max_length=4096), BeforeValidator(_as_text), AfterValidator(_one_line)]
Command = Annotated[str, StringConstraints(min_length=1, max_length=4096)]
DockerOption = Annotated[str, StringConstraints(pattern=r"^-[ -~]{1,200}$")]


class Secret(Strict):
    """Where a node reads a secret when its Ray starts. Kubernetes has it in a Secret instead, under the same name."""

    command: Command | None = Field(None, description="This command prints the secret on a node (in its container).")
    file: Absolute | None = Field(
        None, description="The secret is in this file of the node, which `mounts` shows to the container. Or give `command`."
    )

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if (self.command is None) == (self.file is None):
            raise ValueError("give one of command and file")
        return self


def _secret_names(secrets: dict[str, Secret]) -> dict[str, Secret]:
    for name in secrets:
        if name == ROOT:
            raise ValueError(f"{ROOT} has a field of its own: secret_command")
        if problem := _taken(name):
            raise ValueError(problem)
    return secrets


def _plain(environment: dict[str, str]) -> dict[str, str]:
    for name in environment:
        if problem := _taken(name):
            raise ValueError(problem)
        if name.upper().rpartition("_")[2] in SECRET_WORDS:
            raise ValueError(f"{name} is a secret by its name, and this section is written into files: put it under cluster.secrets")
    return environment


def _taken(name: str) -> str | None:
    if name in VARIABLES.values():
        return f"{name} is made of the herd's secret on every node: leave it out"
    return f"{name} {OF_THE_NODE[name]}: leave it out" if name in OF_THE_NODE else None


Environment = Annotated[dict[Variable, Value], AfterValidator(_plain)]
Secrets = Annotated[dict[Variable, Secret], AfterValidator(_secret_names)]


def twice(secrets: Secrets, environments: Iterable[Environment]) -> list[str]:
    """Returns the names that are both a secret and a plain variable."""
    return sorted({name for environment in environments for name in environment if name in secrets})
