"""The shape of what a request is about: messages, items, content parts, tools, prompts.

Decides that lists hold what their APIs say, and how much of it. vLLM checks each element against every form that it knows, and answers
with all complaints: a list of 1000 wrong elements made an answer of 440 MB and blocked an engine for 28 s. The first wrong element is
named here, and nothing is copied.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from configs.requests import Requests
from deployments.policy.body.bounds import Object, Text, refused
from deployments.policy.body.token_ids import begin_with_ids
from deployments.policy.errors.client_errors import BadRequest

#: Types of the items that vLLM's `/v1/responses` takes, beside messages; `tests/alone` compares them with vLLM's own.
ITEM_TYPES = frozenset(
    """
    additional_tools apply_patch_call apply_patch_call_output code_interpreter_call compaction compaction_trigger computer_call
    computer_call_output configuration_update custom_tool_call custom_tool_call_output file_search_call function_call
    function_call_output image_generation_call item_reference local_shell_call local_shell_call_output mcp_approval_request
    mcp_approval_response mcp_call mcp_list_tools message program program_output reasoning shell_call shell_call_output
    tool_search_call tool_search_output web_search_call
    """.split()  # noqa: SIM905 (one long list reads better as words)
)
LONGEST_NAME = 256


@dataclass(frozen=True, slots=True)
class Messages:
    """A list of messages, in the form of chat completions and of Anthropic's API."""

    def check(self, at: str, value: Any, requests: Requests) -> None:  # noqa: ANN401
        """See `deployments.policy.body.bounds.Rule.check`."""
        _bounded(at, _listed(at, value, "messages"), 0, requests)
        pieces = len(value)
        for index, message in enumerate(value):
            if type(message) is not dict or type(message.get("role")) is not str:
                raise refused(f"{at}[{index}]", "must be a message: an object with a 'role' and a 'content'.")
            content = message.get("content")
            if type(content) is not str and content is not None:
                pieces = _parts(f"{at}[{index}].content", content, pieces, requests)
            calls = message.get("tool_calls")
            if calls is not None:
                pieces = _objects(f"{at}[{index}].tool_calls", calls, pieces, requests)


@dataclass(frozen=True, slots=True)
class Items:
    """The `input` of `/v1/responses`: a text, or a list of items."""

    def check(self, at: str, value: Any, requests: Requests) -> None:  # noqa: ANN401
        """See `deployments.policy.body.bounds.Rule.check`."""
        if isinstance(value, str):
            return
        _bounded(at, _listed(at, value, "items"), 0, requests)
        pieces = len(value)
        for index, item in enumerate(value):
            if not _is_item(item):
                raise refused(f"{at}[{index}]", "must be an item: an object with a 'role', or with a 'type' that the Responses API has.")
            for name in ("content", "output", "summary"):
                inner = item.get(name)
                if isinstance(inner, list):
                    pieces = _parts(f"{at}[{index}].{name}", inner, pieces, requests)
                elif name == "content" and inner is not None and not isinstance(inner, str):
                    raise refused(f"{at}[{index}].content", "must be a string or a list of parts.")


def _is_item(item: object) -> bool:
    if not isinstance(item, dict):
        return False
    kind = item.get("type")
    if kind is None:
        return isinstance(item.get("role"), str)
    return isinstance(kind, str) and kind in ITEM_TYPES


@dataclass(frozen=True, slots=True)
class Blocks:
    """Anthropic's `system`: a text, or a list of blocks."""

    def check(self, at: str, value: Any, requests: Requests) -> None:  # noqa: ANN401
        """See `deployments.policy.body.bounds.Rule.check`."""
        if not isinstance(value, str):
            _parts(at, value, 0, requests)


@dataclass(frozen=True, slots=True)
class Objects:
    """A list of objects that nobody here looks into: documents."""

    def check(self, at: str, value: Any, requests: Requests) -> None:  # noqa: ANN401
        """See `deployments.policy.body.bounds.Rule.check`."""
        _objects(at, value, 0, requests)


@dataclass(frozen=True, slots=True)
class Tools:
    """A list of tools, whose size `deployments.policy.body.tools` bounds.

    `nested`: chat completions keep a tool's name and schema under `function`, the other APIs in the tool itself.
    """

    nested: bool = False

    def check(self, at: str, value: Any, requests: Requests) -> None:  # noqa: ANN401
        """See `deployments.policy.body.bounds.Rule.check`."""
        if len(_listed(at, value, "tools")) > requests.tools:
            raise refused(at, f"has {len(value)} tools; it may have {requests.tools}. Leave out those that this request does not need.")
        for index, tool in enumerate(value):
            inner = tool.get("function") if self.nested and type(tool) is dict else tool
            if type(inner) is not dict or type(inner.get("name")) is not str or len(inner["name"]) > LONGEST_NAME or "tools" in inner:
                self._check_tool(at, index, inner)

    def _check_tool(self, tools: str, index: int, inner: Any) -> None:  # noqa: ANN401
        at = f"{tools}[{index}].function" if self.nested else f"{tools}[{index}]"
        if not isinstance(inner, dict):
            raise refused(at, "must be an object with the tool's 'name' and its parameters.")
        check_name(at, inner.get("name"), needed=self.nested)
        further = inner.get("tools")
        for other in further if isinstance(further, list) else ():
            check_name(f"{at}.tools", other.get("name") if isinstance(other, dict) else None, needed=False)


@dataclass(frozen=True, slots=True)
class ToolChoice:
    """A word, or an object that names a tool."""

    def check(self, at: str, value: Any, requests: Requests) -> None:  # noqa: ANN401
        """See `deployments.policy.body.bounds.Rule.check`."""
        if isinstance(value, str):
            Text(LONGEST_NAME).check(at, value, requests)
            return
        Object(64).check(at, value, requests)
        check_name(at, value.get("name"), needed=False)


def check_name(at: str, name: object, *, needed: bool) -> None:
    """Checks the name in a tool.

    Raises:
        BadRequest: it is no string, or longer than `LONGEST_NAME`.
    """
    if (name is not None or needed) and (not isinstance(name, str) or len(name) > LONGEST_NAME):
        raise refused(at, f"must have a 'name' of at most {LONGEST_NAME} characters.")


@dataclass(frozen=True, slots=True)
class Prompts:
    """A text, a list of token ids, or a list of either; `messages`: or conversations, which `/v1/embeddings` takes as well.

    The lists are all of one kind: vLLM would read 7.0 and "7" as token ids, which other checks could not see.
    """

    most: str
    messages: bool = False

    def check(self, at: str, value: Any, requests: Requests) -> None:  # noqa: ANN401
        """See `deployments.policy.body.bounds.Rule.check`."""
        if isinstance(value, str):
            return
        if begin_with_ids(_listed(at, value, "texts or token ids")):
            return
        most = getattr(requests, self.most)
        kinds = set(map(type, value[:most]))
        if self.messages and kinds == {dict}:
            Messages().check(at, value, requests)
        elif len(value) > most:
            raise refused(at, f"has {len(value)} entries; it may have {most}. Send several requests instead.")
        elif kinds == {list}:
            self._check_lists(at, value, requests)
        elif kinds != {str}:
            raise _mixed(at)

    def _check_lists(self, at: str, value: list[list[Any]], requests: Requests) -> None:
        pieces = 0
        for index, inner in enumerate(value):
            if begin_with_ids(inner):
                continue
            if not self.messages:
                raise _mixed(f"{at}[{index}]")
            pieces = _bounded(f"{at}[{index}]", inner, pieces, requests)
            Messages().check(f"{at}[{index}]", inner, requests)


def _mixed(at: str) -> BadRequest:
    return refused(at, "must be a text, a list of texts, a list of token ids, or a list of such lists.")


def _listed(at: str, value: object, of: str) -> list[Any]:
    if not isinstance(value, list):
        raise refused(at, f"must be a list of {of}.")
    return value


def _bounded(at: str, values: Sequence[Any], before: int, requests: Requests) -> int:
    """Counts the pieces so far, and refuses the one that is too much."""
    pieces = before + len(values)
    if pieces > requests.pieces:
        raise refused(
            at, f"makes more than {requests.pieces} messages, items and parts in this request. Join texts, or leave out old messages."
        )
    return pieces


def _objects(at: str, values: Any, pieces: int, requests: Requests) -> int:  # noqa: ANN401
    pieces = _bounded(at, _listed(at, values, "objects"), pieces, requests)
    for index, value in enumerate(values):
        if type(value) is not dict:
            raise refused(f"{at}[{index}]", "must be an object.")
    return pieces


def _parts(at: str, values: Any, pieces: int, requests: Requests) -> int:  # noqa: ANN401
    """Checks content parts, at any depth: the results of tools hold parts again."""
    if not isinstance(values, list):
        raise refused(at, "must be a string or a list of parts.")
    pieces = _bounded(at, values, pieces, requests)
    for index, part in enumerate(values):
        if type(part) is str:
            continue
        if type(part) is not dict:
            raise refused(f"{at}[{index}]", "must be a part: an object with a 'type', or a string.")
        if part.get("uuid") is not None:
            raise refused(f"{at}[{index}].uuid", "is the cluster's own: leave it out. Equal images are found by their bytes.")
        inner = part.get("content")
        if type(inner) is list:
            pieces = _parts(f"{at}[{index}].content", inner, pieces, requests)
    return pieces
