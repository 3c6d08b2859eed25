"""Starts Ray's head with a password for Redis that stands in no process's arguments.

Decides how Ray's processes get it. `ray start --redis-password=…` writes it into the arguments of itself, of the GCS and of every worker of
the head, where every user of the host reads it. Only the GCS speaks to Redis, and takes the value of a flag from its environment
(`--fromenv`); an environment is closed to other users.
"""

from collections.abc import Sequence
from typing import Any

from ray._private import services
from ray.scripts import scripts

FLAG = "redis_password"
_start_process, _start_raylet = services.start_ray_process, services.start_raylet


def start_head(arguments: Sequence[str], password: str | None) -> None:
    """Runs `ray start --head` in this process, with these further arguments. Ends the process as `ray start` does, by SystemExit."""
    words = ["--head", *arguments]
    if password:
        words.append(f"--redis-password={password}")  # of a call within this process
        services.start_ray_process, services.start_raylet = _without_password, _raylet
    scripts.start.main(args=words, prog_name="ray start")


def by_environment(command: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """Takes the password out of a process's arguments; returns these and the variables that say it instead."""
    beginning = f"--{FLAG}="
    said = [word.removeprefix(beginning) for word in command if word.startswith(beginning)]
    if not said:
        return list(command), {}
    kept = [word for word in command if not word.startswith(beginning)]
    return [*kept, f"--fromenv={FLAG}"], {f"FLAGS_{FLAG}": said[-1]}


def _without_password(command: list[str], *arguments: Any, env_updates: dict[str, str] | None = None, **more: Any) -> Any:  # noqa: ANN401 (Ray's)
    kept, variables = by_environment(command)
    return _start_process(kept, *arguments, env_updates={**(env_updates or {}), **variables}, **more)


def _raylet(*arguments: Any, **more: Any) -> Any:  # noqa: ANN401 (Ray's)
    """Workers reach Redis through the GCS only."""
    return _start_raylet(*arguments, **{**more, FLAG: None})
