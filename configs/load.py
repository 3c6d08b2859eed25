"""The only reader of configs and of the environment: paths become a frozen `Config`, or every problem at once.

Decides the order: files are laid over each other, then `--set`, then variables are filled in, then the schema is asked. Leaves finding
faults to `configs.schema`, and to the `check` that a caller passes in (the catalogue lives in a layer that imports this one).
"""

import functools
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml
from pydantic import SecretStr, ValidationError

from configs.cross_checks import Check, cross_problems
from configs.files import Files, Source
from configs.keys import PURPOSES, ROOT, VARIABLES, Purpose, derived
from configs.overlays import assigned, merged
from configs.problems import ConfigError as ConfigError
from configs.problems import Problem as Problem
from configs.provenance import Node, Origin, nearest, origins, plain
from configs.schema import Config, Model
from configs.schema_problems import told
from configs.substitution import Filling
from configs.yaml_text import document

#: In the environment of an engine's processes: the id of its replica, a space, and the id of its model.
REPLICA = "HERD_REPLICA"


@dataclass(frozen=True, slots=True)
class Loaded:
    """A config, and where everything in it comes from."""

    config: Config
    document: dict[str, Any]
    """The config as it was written: all files as one, with variables filled in, and without defaults."""
    origins: Mapping[str, Origin]
    """The origin of each value that is not a default, by its path."""
    sources: tuple[str, ...]
    """The names of all files, each before the first one that is laid over it."""

    def where(self, path: str) -> str:
        """Returns where the value at a path comes from, or the section that it would be in."""
        return str(nearest(self.origins, path) or "")


def read(path: Path, check: Check | None = None) -> Config:
    """Reads the config in a YAML file, and in those that it extends.

    Raises:
        ConfigError: the file cannot be read, is not YAML, or says something that is not allowed; with every problem.
    """
    return loaded([path], check=check).config


def loaded(paths: Sequence[Path], sets: Sequence[str] = (), check: Check | None = None, environ: Mapping[str, str] | None = None) -> Loaded:
    """Reads the config that YAML files say together.

    Args:
        paths: at least one; each is laid over those before it. `-` is standard input.
        sets: `PATH=VALUE` each, the value being YAML; they are laid over the files.
        check: asked beside the schema.
        environ: variables that the files may use; the process's if None.

    Raises:
        ConfigError: as `read`.
    """
    files = Files()
    found = functools.reduce(merged, (files.document(Source.of(path)) for path in paths))
    for one in sets:
        name, mark, value = one.partition("=")
        found = assigned(found, name if mark else "", plain(document(value, f"--set {name}")))
    return _validated(found, files, Source.of(paths[-1]).name, check, environ)


def parse(text: str, source: str, check: Check | None = None) -> Config:
    """Reads the config in a YAML text; `source` names it in errors.

    Raises:
        ConfigError: as `read`.
    """
    files = Files()
    return _validated(files.document(Source(source, Path(source)), text), files, source, check, None).config


def _validated(found: Node, files: Files, source: str, check: Check | None, environ: Mapping[str, str] | None) -> Loaded:
    filling = Filling(os.environ if environ is None else environ, lambda text: plain(document(text, source)))
    filled = filling.filled(found)
    raw, places = plain(filled), dict(origins(filled))
    try:
        config, problems = Config.model_validate(raw), filling.problems
    except ValidationError as error:
        refused = {problem.path for problem in filling.problems}
        config, problems = None, [*filling.problems, *(one for detail in error.errors() if (one := told(dict(detail))).path not in refused)]
    problems += _checked(raw.get("models"), check)
    if config is not None:
        problems += [Problem(*one) for one in cross_problems(config)]
        problems += [Problem(*one) for one in (check.of_config(config) if check else ())]
    if config is None or problems:
        raise ConfigError(source, [one if one.where else replace(one, where=str(nearest(places, one.path) or "")) for one in problems])
    return Loaded(config, raw, places, tuple(files.names))


def checkpoint_config(folder: Path) -> dict[str, Any] | None:
    """Reads the `config.json` of a checkpoint on this machine; returns None if there is no such file.

    Raises:
        ConfigError: it cannot be read, or is not a JSON object.
    """
    path = folder / "config.json"
    if not path.is_file():
        return None
    try:
        decoded = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(str(path), [Problem("", f"cannot be read as JSON: {error}")]) from error
    if not isinstance(decoded, dict):
        raise ConfigError(str(path), [Problem("", "is not a JSON object")])
    return decoded


def as_yaml(config: Mapping[str, Any]) -> str:
    """Writes a config as YAML, which `parse` reads back."""
    text: str = yaml.safe_dump(dict(config), sort_keys=False, default_flow_style=None, allow_unicode=True, width=140)
    return text


def as_flow(value: Any) -> str:  # noqa: ANN401 (a document)
    """Writes a value as YAML on one line."""
    text: str = yaml.safe_dump([value], default_flow_style=True, allow_unicode=True, width=1 << 20)
    return text.strip()[1:-1]


class _Lines(yaml.SafeDumper):
    """Writes a line for each value, folds nothing, uses no anchors, and keeps text of several lines as such."""

    def ignore_aliases(self, data: object) -> bool:
        return True

    def represent_str(self, data: str) -> yaml.ScalarNode:
        return self.represent_scalar("tag:yaml.org,2002:str", data, style="|" if "\n" in data else None)


_Lines.add_representer(str, _Lines.represent_str)


def as_lines(mapping: Mapping[str, Any]) -> str:
    """Writes a mapping as YAML for other tools, a line for each value."""
    text: str = yaml.dump(dict(mapping), Dumper=_Lines, sort_keys=False, default_flow_style=False, allow_unicode=True, width=10_000)
    return text


def _checked(models: object, check: Check | None) -> list[Problem]:
    """Returns the check's problems for every model that is well formed by itself, even if other models are not."""
    if check is None or not isinstance(models, list):
        return []
    problems = []
    for index, raw in enumerate(models):
        try:
            model = Model.model_validate(raw)
        except ValidationError:
            continue
        problems += [Problem(f"models[{index}].{field}", message) for field, message in check.of_model(model)]
    return problems


@dataclass(frozen=True, slots=True)
class Environment:
    """The herd's settings from the process's environment; nothing else in the project reads it."""

    state: Path
    """Folder of a herd's own files (its Ray node's process id, its secret)."""
    cache: Path
    """Folder of what can be built anew."""
    secret: SecretStr | None
    """The secret that all keys are made of, where a site sets its own."""
    ray_token: bool = False
    """Whether Ray's own token is named."""
    keys: Mapping[Purpose, SecretStr] = field(default_factory=dict)
    """Keys that were made of the secret where this process was started."""
    ray_asks_for_token: bool = False
    """Whether Ray's token authentication is on; Ray's processes inherit what the node's Ray was started with."""
    replica: tuple[str, str] | None = None
    """In a process of an engine: the id of its replica, and that of its model."""
    api_key: SecretStr | None = None
    """The key that this user's commands show to a gateway that asks for one, where OpenAI's own clients look for theirs."""

    @property
    def models(self) -> Path:
        """Returns the folder where the small models are built and kept."""
        return self.cache / "models"

    def key(self, purpose: Purpose) -> SecretStr:
        """Gives the key for a purpose, for a process that cannot do without: the one that is set, else one made of the secret.

        Raises:
            RuntimeError: neither is set.
            WeakSecret: the secret can be guessed.
        """
        if purpose in self.keys:
            return self.keys[purpose]
        if self.secret is None:
            raise RuntimeError(
                f"{VARIABLES[purpose]} is not set in the environment of this node's Ray, and neither is {ROOT}: "
                'run `eval "$(herd secret)"` where `ray start` runs'
            )
        return SecretStr(derived(self.secret.get_secret_value(), purpose))


def environment(environ: Mapping[str, str] | None = None) -> Environment:
    """Reads `HERD_STATE`, `HERD_CACHE` (by default below XDG's folders), `HERD_SECRET` or keys made of it, and `OPENAI_API_KEY`."""
    env = os.environ if environ is None else environ
    home = Path(env.get("HOME") or "~").expanduser()
    state = _folder(env.get("HERD_STATE"), env.get("XDG_STATE_HOME"), home / ".local/state")
    cache = _folder(env.get("HERD_CACHE"), env.get("XDG_CACHE_HOME"), home / ".cache")
    secret = env.get(ROOT)
    keys = {purpose: SecretStr(key) for purpose in PURPOSES if (key := env.get(VARIABLES[purpose]))}
    ray_token = bool(env.get("RAY_AUTH_TOKEN") or env.get("RAY_AUTH_TOKEN_PATH"))
    replica, _, model = env.get(REPLICA, "").partition(" ")
    api_key = env.get("OPENAI_API_KEY")
    return Environment(
        state=state,
        cache=cache,
        secret=SecretStr(secret) if secret else None,
        ray_token=ray_token,
        keys=keys,
        ray_asks_for_token=env.get("RAY_AUTH_MODE", "").lower() == "token",
        replica=(replica, model) if replica and model else None,
        api_key=SecretStr(api_key) if api_key else None,
    )


def _folder(own: str | None, xdg: str | None, default: Path) -> Path:
    """Returns the herd's folder if one is named, else one below XDG's. A relative path of XDG's is ignored, as its specification says."""
    if own:
        return Path(own).expanduser()
    above = Path(xdg or "")
    return (above if above.is_absolute() else default) / "llama-herd"
