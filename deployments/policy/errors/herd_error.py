"""The root of all errors that a client can see, and the shapes in which the APIs tell one.

Decides bodies and events. Which errors there are, with which status and code, stands in `policy.errors`.
"""

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar, Self

import msgspec

#: Anthropic's types of errors, by HTTP status; any other is a client's error below 500, and the API's from there on.
_ANTHROPIC: Mapping[int, str] = MappingProxyType(
    {
        401: "authentication_error",
        403: "permission_error",
        404: "not_found_error",
        413: "request_too_large",
        429: "rate_limit_error",
        503: "overloaded_error",
        504: "timeout_error",
    }
)
_NUMBER = re.compile(rb'"sequence_number": ?(\d{1,12})')
#: Characters of an error's sentence and of its field's name: a client may have made up a part of either, in megabytes.
MOST_MESSAGE, MOST_PARAM = 8000, 256


class HerdError(Exception):
    """An answer that is not the one the client hoped for."""

    status: int = 500
    type: ClassVar[str] = "server_error"
    code: ClassVar[str | None] = "internal_error"
    retryable: ClassVar[bool] = False
    challenge: ClassVar[str] = ""
    """The header `www-authenticate`, which says how a key is shown (RFC 9110, section 11.6.1); empty where none is asked for."""

    def __init__(self, message: str, *, param: str | None = None, code: str | None = None, retry_after_s: int | None = None) -> None:
        message = _short(message, MOST_MESSAGE)
        super().__init__(message)
        self.message = message
        self.param = None if param is None else _short(param, MOST_PARAM)
        self.reason = code or self.code
        self.retry_after_s = retry_after_s
        self._endpoint = ""
        self._number = 0

    def told_in(self, endpoint: str, after: bytes = b"") -> Self:
        """Gives it the shape that an endpoint's clients read, and returns it.

        Args:
            endpoint: the short name of a path, as in `policy.request.calls.ENDPOINTS`.
            after: the last events of the stream in which it is told.
        """
        self._endpoint = endpoint
        if numbers := _NUMBER.findall(after):
            self._number = int(numbers[-1]) + 1
        return self

    @property
    def _for_anthropic(self) -> bool:
        return self._endpoint.startswith(("messages", "count_tokens"))

    def fields(self) -> dict[str, Any]:
        """Returns the members under `error`."""
        kind: str = self.type
        if self._for_anthropic:
            kind = _ANTHROPIC.get(self.status, "invalid_request_error" if self.status < 500 else "api_error")
        return {"message": self.message, "type": kind, "param": self.param, "code": self.reason}

    def body(self) -> bytes:
        """The body of an answer. Clients of OpenAI's API do not look at the outer `type`, those of Anthropic's do."""
        return msgspec.json.encode({"type": "error", "error": self.fields()})

    def event(self) -> bytes:
        """The same inside a stream of server-sent events.

        Chat and completions tell it as data alone. Messages and responses name every event. Responses number them; OpenAI documents the
        fields of the error beside its type, and its own client reads them under `error`.
        """
        if self._endpoint == "responses":
            told = {**self.fields(), "type": "error", "sequence_number": self._number, "error": self.fields()}
            return b"event: error\ndata: " + msgspec.json.encode(told) + b"\n\n"
        return (b"event: error\ndata: " if self._for_anthropic else b"data: ") + self.body() + b"\n\n"


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else text[:most] + "…"
