"""Whether a request's prompt can be one of this model's: its length, and its token ids.

Decides by the model's context and vocabulary, without a tokenizer. vLLM checks most of this too, but after it has tokenized the whole text
(`/tokenize` took 14 s for 5 MB, and the engine answered nobody meanwhile), and it lets the id behind the last one through where the
tokenizer has more tokens than the model, which ends the engine.
"""

from collections.abc import Iterator, Mapping
from typing import Any, TypeGuard

from configs.requests import Requests
from deployments.policy.body import tools
from deployments.policy.body.bounds import KIB, refused
from deployments.policy.body.field_table import FIELDS
from deployments.policy.body.token_ids import are_ids, no_ids
from deployments.policy.errors.client_errors import ContextExceeded
from deployments.policy.images import media
from deployments.policy.request.served_models import Served

#: No prompt has more characters per token over its whole length: English has 4 to 5; a single token of Llama's has up to 128 spaces.
CHARACTERS_PER_TOKEN = 16
#: For counting tokens, where there is no answer and the engine tokenizes whatever comes.
COUNTED_PER_TOKEN = 8
COUNTING = frozenset({"tokenize", "count_tokens"})
_TEXTS = ("system", "instructions", "prompt", "input", "messages", "documents")
#: A number counts as so many characters, which is the longest that one is written with.
_NUMBER = 24
_BRACKETS = 2
#: Fields of these endpoints hold several prompts, where they hold a list of anything but messages.
_SEVERAL = frozenset({"completions", "embeddings"})
#: Token ids that are looked at in one go: 5 ms.
IDS_AT_ONCE = 100_000
#: What a list counts for beside its ids.
_LIST = 100
#: The field that may hold token ids.
_IDS = {"completions": "prompt", "embeddings": "input", "detokenize": "tokens"}
#: The endpoints whose prompt may be token ids; `check_ids` finds nothing at any other.
WITH_IDS = frozenset(_IDS)
#: The endpoints that have tools: at others a field of this name is unknown, and may hold anything.
_WITH_TOOLS = frozenset(endpoint for endpoint, rules in FIELDS.items() if "tools" in rules)
#: Further values for a template: Llama's templates write `custom_tools` as they write tools.
_TEMPLATES = "chat_template_kwargs"
_WITH_TEMPLATES = frozenset(endpoint for endpoint, rules in FIELDS.items() if _TEMPLATES in rules)


def check(endpoint: str, body: Mapping[str, Any], size: int, model: Served, requests: Requests) -> None:
    """Checks a prompt against a model; its token ids have been checked by `check_ids`.

    Args:
        endpoint: the request's short name, of `deployments.policy.request.calls.ENDPOINTS`.
        body: the decoded body, whose shape `deployments.policy.body.fields` has checked.
        size: bytes of the body as it came, which no text in it exceeds.
        model: which shall answer.
        requests: the config's numbers.

    Raises:
        ContextExceeded: the prompt is longer than any that fits the model.
        BadRequest: a tool is too large, or the prompt has too many values.
    """
    most = _most_characters(endpoint, model, requests)
    room = most
    if endpoint in _WITH_TOOLS and body.get("tools"):
        if size <= min(tools.SMALL, most // tools.MOST_PER_BYTE):
            tools.check_grammars(body, requests)
        else:
            written = tools.characters(body, most, requests)
            if written > most:
                raise _too_long("tools", f"{written} characters in a prompt", f"{most} characters", model)
            room -= written
    if size > most // tools.MOST_PER_BYTE and body.get(_TEMPLATES) and endpoint in _WITH_TEMPLATES:
        written = tools.laid_out(body[_TEMPLATES], room)
        if written > room:
            raise _too_long(_TEMPLATES, f"{written} characters in a prompt", f"{room} characters", model)
        room -= written
    if size > most:
        _check_text(endpoint, body, room, model, requests)


def check_ids(endpoint: str, body: Mapping[str, Any], model: Served) -> Iterator[None]:
    """Checks the token ids of a prompt against a model, and yields after each `IDS_AT_ONCE` of them: a prompt may have millions.

    Raises:
        ContextExceeded: the prompt is longer than any that fits the model; found before its ids are looked at.
        BadRequest: a token id is none of the model's, or no whole number.
    """
    looked_at = 0
    for at, ids in _id_lists(endpoint, body):
        if len(ids) > model.context_tokens:
            raise _too_long(at, f"{len(ids)} tokens", f"{model.context_tokens}", model)
        for begin in range(0, len(ids), IDS_AT_ONCE):
            piece = ids[begin : begin + IDS_AT_ONCE]
            _check_piece(at, piece, model)
            looked_at += len(piece) + _LIST
            if looked_at > IDS_AT_ONCE:
                looked_at = 0
                yield


def _id_lists(endpoint: str, body: Mapping[str, Any]) -> Iterator[tuple[str, list[Any]]]:
    """Yields where each list that begins with a token id stands, and the list; other lists have passed `deployments.policy.body.shape`."""
    field = _IDS.get(endpoint, "")
    value = body.get(field)
    if _begins_with_id(value):
        yield field, value
    elif isinstance(value, list):
        yield from ((f"{field}[{index}]", ids) for index, ids in enumerate(value) if _begins_with_id(ids))


def _begins_with_id(value: object) -> TypeGuard[list[Any]]:
    return isinstance(value, list) and bool(value) and type(value[0]) is int


def _check_piece(at: str, ids: list[Any], model: Served) -> None:
    if not are_ids(ids):
        raise no_ids(at)
    least, most = min(ids), max(ids)
    if least < 0 or (model.vocabulary is not None and most >= model.vocabulary):
        known = "" if model.vocabulary is None else f" It has the ids 0 to {model.vocabulary - 1}."
        wrong = str(least if least < 0 else most)[:24]
        raise refused(at, f"has the token id {wrong}, which the model '{model.id}' does not have.{known}")


def has_token_ids(body: Mapping[str, Any]) -> bool:
    """Tells whether the prompt is in token ids, which mean something else to every other model."""
    prompt = body.get("prompt")
    return isinstance(prompt, list) and bool(prompt) and not isinstance(prompt[0], str)


def _most_characters(endpoint: str, model: Served, requests: Requests) -> int:
    if endpoint in COUNTING:
        return int(min(model.context_tokens * COUNTED_PER_TOKEN, requests.tokenize_kib * KIB))
    return model.context_tokens * CHARACTERS_PER_TOKEN


def _check_text(endpoint: str, body: Mapping[str, Any], room: int, model: Served, requests: Requests) -> None:
    total = 0
    for name in _TEXTS:
        value = body.get(name)
        if not value:
            continue
        if endpoint in _SEVERAL and isinstance(value, list) and not isinstance(value[0], dict):
            total = max(total, _longest(name, value, requests))
        else:
            total += _characters(name, value, requests)
        if total > room:
            beside = " beside its tools" if body.get("tools") else ""
            raise _too_long(name, f"{total} characters", f"{room} characters{beside}", model)


def _longest(name: str, prompts: list[Any], requests: Requests) -> int:
    """Counts the characters of the longest of several prompts; those in token ids have been checked."""
    if _begins_with_id(prompts):
        return 0
    return max(0 if not one or _begins_with_id(one) else _characters(name, one, requests) for one in prompts)


def _characters(name: str, value: Any, requests: Requests) -> int:  # noqa: ANN401
    """Counts the characters that a field becomes in a prompt, without its images: every text, key and number, wherever it stands."""
    total, values, left = -media.characters({name: value}), 0, [[value]]
    while left:
        node = left.pop()
        values += len(node)
        if values > requests.structure:
            raise refused(name, f"has more than {requests.structure} values. Send less in one request.", code="request_too_large")
        for one in node:
            kind = type(one)
            if kind is str:
                total += len(one)
            elif kind is dict:
                total += _BRACKETS + sum(map(len, one))
                left.append(list(one.values()))
            elif kind is list:
                total += _BRACKETS
                left.append(one)
            else:
                total += _NUMBER
    return total


def _too_long(at: str, found: str, most: str, model: Served) -> ContextExceeded:
    return ContextExceeded(
        f"'{at}' has {found}. The model '{model.id}' has a context of {model.context_tokens} tokens, for which this server takes at most "
        f"{most}. Shorten the prompt.",
        param=at,
    )
