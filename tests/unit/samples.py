"""Examples that several tests share, and every config that the schema allows, derived from the schema itself."""

from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from configs.engine_arguments import ENGINE_ARGUMENTS, OWNED_BY_THE_HERD
from configs.engine_values import BOOLEANS, CHOICES, GREATEST, LEAST, LISTS, MAPPINGS, NUMBERS, TEXTS, WHOLE
from configs.schema import Config, Model
from deployments.policy.routing.types import ReplicaState, ReplicaView

MODEL: dict[str, Any] = {"id": "llama", "kind": "llama-3.1-8b", "checkpoint": "meta-llama/Llama-3.1-8B-Instruct", "context_tokens": 8192}
SCOUT: dict[str, Any] = {"id": "scout", "kind": "llama-4-scout", "checkpoint": "meta-llama/Llama-4-Scout", "context_tokens": 131072}


def model(**fields: Any) -> Model:
    """A text model, with these fields changed."""
    return Model.model_validate({**MODEL, **fields})


def scout(**fields: Any) -> Model:
    """A model that reads images and has experts, with these fields changed."""
    return Model.model_validate({**SCOUT, **fields})


def config(*models: Model, **fields: Any) -> Config:
    """A herd of these models."""
    return Config.model_validate({"models": [one.model_dump(mode="json") for one in models or (model(),)], **fields})


def replica(name: str = "a", state: ReplicaState = ReplicaState.READY, ongoing: int = 0, model: str = "llama") -> ReplicaView:
    """A replica as a gateway sees it."""
    return ReplicaView(name, model, "10.0.0.1", 9000, state, ongoing)


JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


def _argument(name: str) -> st.SearchStrategy[Any]:
    """Values that an engine argument may have."""
    if name in CHOICES:
        return st.sampled_from(CHOICES[name])
    low, high = LEAST.get(name, 0.0), GREATEST.get(name)
    kinds: list[tuple[Any, st.SearchStrategy[Any]]] = [
        (BOOLEANS, st.booleans()),
        (WHOLE, st.integers(int(low), 2**53)),
        (NUMBERS, st.floats(low, high, exclude_min=True, allow_nan=False, allow_infinity=False)),
        (TEXTS, st.text(max_size=8)),
        (MAPPINGS, st.dictionaries(st.text(max_size=8), JSON, max_size=3)),
        (LISTS, st.lists(JSON, max_size=3)),
    ]
    return next((values for names, values in kinds if name in names), JSON)


_ENGINE = st.lists(st.sampled_from(sorted(ENGINE_ARGUMENTS - OWNED_BY_THE_HERD.keys())), max_size=3, unique=True).flatmap(
    lambda names: st.fixed_dictionaries({name: _argument(name) for name in names})
)


@cache
def raw(schema: type[BaseModel]) -> st.SearchStrategy[dict[str, Any]]:
    """What a YAML file may say at a place of the schema: required fields always, the others or not."""
    fields = {name: (_values(field.annotation, tuple(field.metadata)), field.is_required()) for name, field in schema.model_fields.items()}
    return (
        st.fixed_dictionaries(
            {name: values for name, (values, required) in fields.items() if required},
            optional={name: values for name, (values, required) in fields.items() if not required},
        )
        .map(_with_known_names if schema is Config else lambda value: value)
        .filter(lambda value: _is_valid(schema, value))
    )


def _with_known_names(config: dict[str, Any]) -> dict[str, Any]:
    """Where models are named again, they are some that there are."""
    ids = [model["id"] for model in config["models"]]
    if "auto" in config.get("gateway", {}):
        config["gateway"]["auto"] = ids[: len(config["gateway"]["auto"])]
    for model in config["models"]:
        if "fallbacks" in model:
            model["fallbacks"] = [other for other in ids if other != model["id"]][: len(model["fallbacks"])]
    return config


def _is_valid(schema: type[BaseModel], value: dict[str, Any]) -> bool:
    """Fields that must agree with each other (a range's ends, unique names) are told by the schema, after the fact."""
    try:
        schema.model_validate(value)
    except ValidationError as error:
        if any(detail["type"] != "value_error" for detail in error.errors()):
            raise  # not a disagreement: what is made here does not fit the schema's own fields
        return False
    return True


def _values(annotation: Any, metadata: tuple[Any, ...] = ()) -> st.SearchStrategy[Any]:
    origin, args = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _values(args[0], (*metadata, *args[1:]))
    if origin is Literal:
        return st.sampled_from(args)
    if origin is tuple:
        return st.lists(_values(args[0]), max_size=2)
    if origin in (Union, UnionType):
        return st.one_of(*(_values(arg, metadata) for arg in args))
    if origin is dict:
        return _ENGINE if args[1] is Any else st.dictionaries(_values(args[0]), _values(args[1]), max_size=1)
    return raw(annotation) if issubclass(annotation, BaseModel) else _scalar(annotation, metadata)


def _scalar(kind: type, metadata: tuple[Any, ...]) -> st.SearchStrategy[Any]:
    said = {name: value for one in metadata for name in ("ge", "gt", "le", "pattern") if (value := getattr(one, name, None)) is not None}
    low, high, above = said.get("ge", said.get("gt")), said.get("le"), "gt" in said
    strategies: dict[type, st.SearchStrategy[Any]] = {
        NoneType: st.none(),
        bool: st.booleans(),
        int: st.integers(low, high),
        float: st.floats(low, high, exclude_min=above, allow_nan=False, allow_infinity=False),
        str: st.from_regex(said["pattern"], fullmatch=True) if "pattern" in said else st.text("abc:/.-", min_size=1, max_size=12),
    }
    return strategies[kind]
