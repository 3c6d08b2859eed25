"""Every value of a config with its place, and the lines that show them.

Decides what is hidden: a command that itself has the secret in it, an engine's token, the name and password in an address, and what
`…_TOKEN=` and the like are set to.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from configs.cross_checks import prints_its_own_words
from configs.load import Loaded, as_flow
from configs.node_environment import SECRET_WORDS
from configs.provenance import path_of
from configs.schema import Config, Parallelism
from configs.substitution import is_secret

Location = tuple[int | str, ...]
HIDDEN = "(not shown)"
#: The column at which places begin, where a line is not longer.
PLACES_AT = 48
_COMMAND = re.compile(r"^cluster\.(secret_command|secrets\..*\.command)$")
_OF_ENGINES = re.compile(r"^models\[\d+\]\.engine\.")
_ASSIGNED = re.compile(rf"(?i)(?<![a-z])((?:[a-z0-9_]*_)?(?:{'|'.join(sorted(SECRET_WORDS))})=)\S+")
_USER_IN_ADDRESS = re.compile(r"(?<=://)[^/@\s]+(?=@)")


@dataclass(frozen=True, slots=True)
class Value:
    """A value of a config: a scalar, a list of such, or an empty section."""

    location: tuple[int | str, ...]
    value: Any
    is_default: bool

    @property
    def path(self) -> str:
        """Returns its path, as problems name it."""
        return path_of(self.location)


def values(config: Config) -> Iterator[Value]:
    """Yields every value of a config in the schema's order, defaults too."""
    yield from _section(config, ())


def _section(section: BaseModel, place: Location) -> Iterator[Value]:
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        yield from _value(value, (*place, name), _is_default(field, value))


def _is_default(field: FieldInfo, value: object) -> bool:
    return not field.is_required() and bool(value == field.get_default(call_default_factory=True))


def _value(value: Any, place: Location, is_default: bool) -> Iterator[Value]:  # noqa: ANN401 (whatever a field holds)
    match value:
        case Parallelism(auto=True):
            yield Value(place, "auto", is_default)
        case BaseModel():
            yield from _section(value, place)
        case dict() if value:
            for key, one in value.items():
                yield from _value(one, (*place, key), is_default)
        case list() | tuple() if any(isinstance(one, BaseModel) for one in value):
            for index, one in enumerate(value):
                yield from _value(one, (*place, index), is_default)
        case tuple():
            yield Value(place, [_hidden(place, one) for one in value], is_default)
        case _:
            yield Value(place, _hidden(place, value), is_default)


def _hidden(place: Location, value: Any) -> Any:  # noqa: ANN401 (whatever a field holds)
    """Returns what may be shown of a value."""
    if not isinstance(value, str):
        return value
    path = path_of(place)
    if _COMMAND.match(path) and prints_its_own_words(value):
        return HIDDEN
    if _OF_ENGINES.match(path) and is_secret(str(place[-1])):
        return HIDDEN
    return _USER_IN_ADDRESS.sub("…", _ASSIGNED.sub(r"\1…", value))


def place(given: Loaded, one: Value) -> str | None:
    """Returns where a value of a config comes from; None for a default."""
    return None if one.is_default and one.path not in given.origins else given.where(one.path)


def places(given: Loaded) -> dict[str, tuple[Any, str]]:
    """Returns each value that is no default with its place, by its path."""
    return {one.path: (one.value, told) for one in values(given.config) if (told := place(given, one)) is not None}


def lines(shown: Iterable[Value], told: Callable[[Value], str]) -> Iterator[str]:
    """Yields the lines of a YAML text with values of a config, and its place behind each."""
    tree: dict[int | str, Any] = {}
    for one in shown:
        *above, name = one.location
        section = tree
        for part in above:
            section = section.setdefault(part, {})
        section[name] = one
    for text, value in _block(tree, 0):
        yield text if value is None else f"{text:<{PLACES_AT - 2}}  # {told(value)}"


def _block(tree: dict[int | str, Any], indent: int) -> Iterator[tuple[str, Value | None]]:
    margin = " " * indent
    for name, inner in tree.items():
        if isinstance(name, int):
            (first, value), *rest = _block(inner, indent + 2)
            yield f"{margin}- {first.lstrip()}", value
            yield from rest
        elif isinstance(inner, Value):
            yield f"{margin}{as_flow(name)}: {as_flow(inner.value)}", inner
        else:
            yield f"{margin}{as_flow(name)}:", None
            yield from _block(inner, indent + 2)
