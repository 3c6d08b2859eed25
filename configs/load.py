"""The only reader of files and of the environment: a path becomes a frozen `Config`, or every problem at once.

Decides how a problem is told: its path in the file, the fault, and the values that are allowed. Leaves finding faults to `configs.schema`,
and to the `check` that a caller passes in (the catalogue lives in a layer that imports this one).
"""

import difflib
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, SecretStr, ValidationError

from configs.cross_checks import Check, cross_problems
from configs.keys import PURPOSES, ROOT, VARIABLES, Purpose, derived
from configs.problems import ConfigError as ConfigError
from configs.problems import Problem as Problem
from configs.schema import Config, Model


class _Loader(yaml.SafeLoader):
    """Refuses two equal keys, of which PyYAML keeps the last, and values whose errors PyYAML does not raise as YAML's."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:  # noqa: ANN401 (its types are wrong about it)
        node = super().compose_mapping_node(anchor)
        seen: set[tuple[str, str]] = set()
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            if (key.tag, key.value) in seen:
                raise yaml.composer.ComposerError(None, None, f"the key {key.value!r} is here twice", key.start_mark)
            seen.add((key.tag, key.value))
        return node

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:  # noqa: ANN401 (whatever the YAML says)
        try:
            return super().construct_object(node, deep)
        except (ValueError, LookupError, AttributeError) as error:  # a date like 2026-02-31, a !!bool that is none
            kind = node.tag.rpartition(":")[2]
            raise yaml.constructor.ConstructorError(None, None, f"{node.value!r} is not a {kind}", node.start_mark) from error


def read(path: Path, check: Check | None = None) -> Config:
    """Reads the config in a YAML file.

    Raises:
        ConfigError: the file cannot be read, is not YAML, or says something that is not allowed; with every problem.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(str(path), [Problem("", f"cannot be read: {error.strerror}")]) from error
    except UnicodeDecodeError as error:
        raise ConfigError(str(path), [Problem("", "is not text in UTF-8")]) from error
    return parse(text, str(path), check)


def parse(text: str, source: str, check: Check | None = None) -> Config:
    """Reads the config in a YAML text; `source` names it in errors.

    Raises:
        ConfigError: as `read`.
    """
    raw = _mapping(text, source)
    try:
        config, problems = Config.model_validate(raw), []
    except ValidationError as error:
        config, problems = None, [_problem(dict(detail)) for detail in error.errors()]
    problems += _checked(raw.get("models"), check)
    if config is not None:
        problems += [Problem(*found) for found in cross_problems(config)]
        problems += [Problem(*found) for found in (check.of_config(config) if check else ())]
    if config is None or problems:
        raise ConfigError(source, problems)
    return config


def _mapping(text: str, source: str) -> dict[str, Any]:
    try:
        raw = yaml.load(text, _Loader)
    except yaml.MarkedYAMLError as error:
        raise ConfigError(source, [Problem("", f"is not YAML: {error.problem}{_place(error.problem_mark)}")]) from error
    except yaml.reader.ReaderError as error:
        raise ConfigError(source, [Problem("", f"is not YAML: {error.reason} (at character {error.position + 1})")]) from error
    except RecursionError as error:
        raise ConfigError(source, [Problem("", "is nested too deeply")]) from error
    if not isinstance(raw, dict):
        raise ConfigError(source, [Problem("", "must be a mapping with at least the key `models`")])
    return raw


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


def _place(mark: yaml.Mark | None) -> str:
    return f" (line {mark.line + 1}, column {mark.column + 1})" if mark else ""


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


def _problem(detail: Mapping[str, Any]) -> Problem:
    location: tuple[int | str, ...] = detail["loc"]
    named = location[:-1] if location[-1:] == ("[key]",) else location  # pydantic's mark for a key that is wrong itself
    return Problem(_path(named), _message(detail, location))


def _path(location: Iterable[int | str]) -> str:
    text = ""
    for part in location:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def _message(detail: Mapping[str, Any], location: tuple[int | str, ...]) -> str:
    match detail["type"]:
        case "extra_forbidden":
            return _unknown_field(str(location[-1]), fields_at(Config, location[:-1]))
        case "missing":
            return "is required"
        case "value_error":
            return str(detail["ctx"]["error"])
        case _:
            return f"{detail['msg'][0].lower()}{detail['msg'][1:]} (got {_short(detail['input'])})"


def _unknown_field(name: str, allowed: Iterable[str]) -> str:
    allowed = sorted(allowed)
    close = difflib.get_close_matches(name, allowed, n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    return f"unknown field; {hint}allowed here: {', '.join(allowed)}"


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def fields_at(schema: type[BaseModel], location: Iterable[int | str]) -> tuple[str, ...]:
    """Returns the names of the fields at a place in the schema: `("models", 0, "scaling")` gives those of `Scaling`."""
    key_is_next = False
    for part in location:
        if key_is_next:
            key_is_next = False
        elif isinstance(part, str):
            annotation = schema.model_fields[part].annotation
            key_is_next = get_origin(annotation) is dict
            schema = _model_in(annotation)
    return tuple(schema.model_fields)


def _model_in(annotation: Any) -> type[BaseModel]:  # noqa: ANN401 (annotations have no common type)
    """Returns the one pydantic model inside `X`, `X | None`, `tuple[X, ...]` or `dict[str, X]`."""
    if get_origin(annotation) is dict:
        return _model_in(get_args(annotation)[1])
    if get_origin(annotation) in (Union, UnionType, tuple):
        inner = [part for part in get_args(annotation) if part not in (NoneType, Ellipsis)]
        return _model_in(inner[0])
    model: type[BaseModel] = annotation
    return model


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
    api_key = env.get("OPENAI_API_KEY")
    return Environment(
        state=state,
        cache=cache,
        secret=SecretStr(secret) if secret else None,
        ray_token=ray_token,
        keys=keys,
        ray_asks_for_token=env.get("RAY_AUTH_MODE", "").lower() == "token",
        api_key=SecretStr(api_key) if api_key else None,
    )


def _folder(own: str | None, xdg: str | None, default: Path) -> Path:
    """Returns the herd's folder if one is named, else one below XDG's. A relative path of XDG's is ignored, as its specification says."""
    if own:
        return Path(own).expanduser()
    above = Path(xdg or "")
    return (above if above.is_absolute() else default) / "llama-herd"
