"""vLLM's app refuses a request quickly, shortly, and with a status that says whose fault it is. In an engine replica only.

Decides which exceptions of vLLM's frontend come from the request. vLLM 0.29 answers with 500 or 501 whatever it has no class for: an error
of a decoder, a form that is not implemented. The engine goes on after such a request, and another replica would say the same, so it is 400
here. What ended inside the engine core stays 500, and an engine core that has died is named (`policy.errors.engine_errors.DEAD`).

vLLM's validation looks at every element of a list, and tells every error with its value: 10 kB of `input` took 46 s and made 440 MB.
Here the validation of a list ends at its first wrong element, and `policy.errors.validation` tells a few errors without values.
"""

from collections.abc import Awaitable, Callable
from http import HTTPStatus
from importlib import import_module
from typing import Any

import msgspec
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from pydantic import ValidationError
from pydantic_core import SchemaValidator
from vllm.entrypoints.serve.exception_handling import error_response
from vllm.exceptions import VLLMError, VLLMServerError
from vllm.v1.engine.exceptions import EngineDeadError, EngineGenerateError

from deployments.policy.errors.engine_errors import DEAD, unread
from deployments.policy.errors.engine_words import cleaned
from deployments.policy.errors.validation import summary

App = Callable[[Any, Any, Any], Awaitable[None]]
"""ASGI: scope, receive, send."""

#: Modules of vLLM that hold `create_error_response` by name, and those that hold `sanitize_message`.
ANSWERING = (
    "vllm.entrypoints.serve",
    "vllm.entrypoints.serve.engine.serving",
    "vllm.entrypoints.serve.exception_handling.error_response",
    "vllm.entrypoints.serve.exception_handling.handlers.exception",
    "vllm.entrypoints.serve.exception_handling.handlers.vllm_error",
    "vllm.entrypoints.anthropic.api_router",
    "vllm.entrypoints.openai.models.serving",
)
SANITIZING = (
    "vllm.entrypoints.serve.exception_handling.error_response",
    "vllm.entrypoints.serve.exception_handling.handlers.http",
    "vllm.entrypoints.anthropic.serving",
)
#: The one path whose stream vLLM leaves open-ended when an exception ends it.
RESPONSES = "/v1/responses"

#: Errors of the machine that an engine runs on, by class and by words.
_MACHINES = (VLLMServerError, MemoryError, TimeoutError, ConnectionError)
_MACHINES_MODULES = ("zmq", "multiprocessing", "concurrent", "asyncio")
_MACHINES_WORDS = ("out of memory", "cuda", "new thread", "after shutdown", "event loop", "interpreter shutdown")
#: Errors whose text is Python's, not for a client.
_PYTHONS = (LookupError, AttributeError, AssertionError, NameError, RuntimeError, SyntaxError)
UNCLEAR = "The engine cannot process this request: a part of it has a form, a size or a combination that this model does not take."

_SKIPPED = frozenset({"metadata", "serialization", "cls", "default", "expected", "config"})
_LISTS = ("list", "set", "frozenset")


def in_short(app: FastAPI) -> App:
    """Makes vLLM's app refuse shortly; called once in a replica, before the app serves.

    Returns the app to serve.
    """
    for route in app.routes:
        if isinstance(route, APIRoute):
            for field in route.dependant.body_params:
                adapter = field._type_adapter  # noqa: SLF001 (FastAPI keeps the validator of a body to itself)
                adapter.validator = SchemaValidator(failing_fast(adapter.core_schema), _use_prebuilt=False)
    app.exception_handler(RequestValidationError)(_refused)
    app.middleware_stack = None  # it has been built with vLLM's handler, and is built anew at the first request
    _answer_with_blame()
    return _Ended(app)


def failing_fast(schema: Any) -> Any:  # noqa: ANN401 (pydantic's core schema: nested mappings and lists)
    """Returns a core schema whose lists are given up at their first wrong element."""
    if isinstance(schema, dict):
        changed = {name: value if name in _SKIPPED else failing_fast(value) for name, value in schema.items()}
        return changed | {"fail_fast": True} if schema.get("type") in _LISTS else changed
    if isinstance(schema, list | tuple):
        return type(schema)(failing_fast(one) for one in schema)
    return schema


async def _refused(_request: Request, error: Exception) -> JSONResponse:
    errors = error.errors() if isinstance(error, RequestValidationError) else ()
    message, param = summary(errors)
    return JSONResponse({"error": {"message": message, "type": "Bad Request", "param": param, "code": 400}}, status_code=400)


def _answer_with_blame() -> None:
    """Puts our functions where vLLM's modules hold its own."""
    create = blaming(error_response.create_error_response)
    for name in ANSWERING:
        import_module(name).create_error_response = create  # type: ignore[attr-defined]
    for name in SANITIZING:  # vLLM's patterns take eleven seconds for 4 KB of "/a/a/a"
        import_module(name).sanitize_message = in_words  # type: ignore[attr-defined]


def in_words(message: str) -> str:
    """Returns vLLM's message for a client. Cleaning would take away all that an unread error shows of its cause."""
    return unread(message) or cleaned(message)


def blaming(create: Callable[..., Any]) -> Callable[..., Any]:
    """vLLM's `create_error_response`, but an error that comes from the request is 400, and a dead engine core is named."""

    def create_error_response(message: str | Exception, *others: Any, **named: Any) -> Any:  # noqa: ANN401 (vLLM's own)
        if isinstance(message, EngineDeadError):
            return create(str(message), DEAD, HTTPStatus.INTERNAL_SERVER_ERROR)
        fault = request_fault(message) if isinstance(message, Exception) else None
        return create(message, *others, **named) if fault is None else create(fault)

    return create_error_response


def request_fault(error: BaseException) -> str | None:
    """Says how the request is wrong that an exception of the frontend's comes from; None where vLLM's own answer stands.

    vLLM's own answer stands for its own classes of errors, and for errors of the machine: no memory, no file, no connection.
    """
    if isinstance(error, EngineGenerateError) and error.__cause__ is not None:
        return request_fault(error.__cause__)
    if isinstance(error, ValidationError):
        return summary(error.errors(include_url=False, include_input=False))[0]
    if isinstance(error, VLLMError | ValueError | TypeError | OverflowError) or _is_the_machines(error):
        return None
    if isinstance(error.__context__, VLLMServerError):  # it came up while that one was told
        return None
    text = str(error)
    if isinstance(error, NotImplementedError):  # 501 says that the endpoint is not this model's
        return None if text.startswith("The model does not support") else text or UNCLEAR
    return UNCLEAR if isinstance(error, _PYTHONS) or not text else text


def _is_the_machines(error: BaseException) -> bool:
    if isinstance(error, _MACHINES) or not isinstance(error, Exception):
        return True
    if isinstance(error, OSError):  # an image decoder's have no number
        return error.errno is not None
    module = type(error).__module__.partition(".")[0]
    return module in _MACHINES_MODULES or any(word in str(error).lower() for word in _MACHINES_WORDS)


class _Ended:
    """ASGI: a stream of `/v1/responses` that an exception ends, ends with an error event. vLLM breaks the connection, as if it had died."""

    def __init__(self, app: App) -> None:
        self._app = app

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:  # noqa: ANN401 (ASGI's own)
        """ASGI's own call."""
        if scope.get("path") != RESPONSES:
            await self._app(scope, receive, send)
            return
        streaming = False

        async def noting(message: dict[str, Any]) -> None:
            nonlocal streaming
            if message["type"] == "http.response.start":
                streaming = any(name == b"content-type" and value.startswith(b"text/event-stream") for name, value in message["headers"])
            elif not message.get("more_body", False):
                streaming = False
            await send(message)

        try:
            await self._app(scope, receive, noting)
        except Exception as error:
            if not streaming:
                raise
            await send({"type": "http.response.body", "body": _event(error)})


def _event(error: Exception) -> bytes:
    said = error_response.create_error_response(_meant(error)).model_dump()["error"]
    return b"event: error\ndata: " + msgspec.json.encode({"type": "error", "error": said}) + b"\n\n"


def _meant(error: Exception) -> Exception:
    """Finds the exception that ended the stream, below Starlette's own, which says that an exception came too late to be answered.

    vLLM tells a failed generation as an event of the wrong kind, which pydantic then refuses: what had failed came before.
    """
    if isinstance(error, RuntimeError) and isinstance(error.__cause__, Exception):
        error = error.__cause__
    before = error.__context__
    return before if isinstance(error, ValidationError) and isinstance(before, VLLMError) else error
