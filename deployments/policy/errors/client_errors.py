"""Every error that a client can see, in the shape of the API that it asked: OpenAI's, or Anthropic's under `/v1/messages`.

    HerdError
    ├── BadRequest            400  the request itself is wrong; never retried
    │   ├── ContextExceeded   400  context_length_exceeded
    │   ├── MaxTokensTooLarge 400  max_tokens_too_large
    │   ├── AnswerTooLarge    400  answer_too_large: the answer would take too much of the gateway's memory
    │   ├── KillsEngines      400  request_kills_engines: engines died while they had it
    │   ├── NotFound          404  not_found: something that the request names
    │   ├── TooManyImages     400  too_many_images
    │   ├── BadImage          400  invalid_image
    │   ├── BodyTooLarge      413  request_too_large
    │   ├── WrongMedia        415  unsupported_media_type: a body of a type or an encoding that nobody here reads
    │   ├── Unauthorized      401  unauthorized: a page for operators, without its key
    │   └── Forbidden         403  of a web page that the config does not allow
    ├── UnknownPath           404  and 405 where the path is known but not the method
    ├── NotServed             404  unsupported_endpoint: embeddings of a model that generates, say
    ├── UnknownModel          404  model_not_found, with the known ones
    ├── Timeout               408 while the body arrives, 504 while the engine answers
    ├── Overloaded            429  overloaded: with Retry-After
    ├── TooManyConnections    429  of one address, or 503 of all
    └── Unavailable           503  engine_starting, engine_gone, engine_busy: with Retry-After
        ├── ModelStopped      503  model_stopped: by an operator
        ├── Starting          503  engine_starting: it starts with its first requests
        ├── EngineLost        503  engine_gone: its connection broke
        │   └── EnginesLost   503  engine_gone: of two, so that no other is asked
        └── EngineFailed      502  the engine answered with an error of its own

Decides statuses and codes. `policy.errors.herd_error` decides the bodies, and the gateway sends them. A class says with `retryable` whether
the same request may succeed elsewhere or later.
"""

from collections.abc import Iterable
from typing import ClassVar

from deployments.policy.errors.herd_error import HerdError

#: Characters of a client's own words that an error repeats.
_SHOWN = 200


class BadRequest(HerdError):
    """The request cannot be served as it is."""

    status = 400
    type = "invalid_request_error"
    code: ClassVar[str | None] = None


class ContextExceeded(BadRequest):
    """Prompt and answer together do not fit the model's context."""

    code = "context_length_exceeded"


class MaxTokensTooLarge(BadRequest):
    """The answer that is asked for does not fit the model's context. A shorter prompt would not help."""

    code = "max_tokens_too_large"


class AnswerTooLarge(BadRequest):
    """The answer would take too much of the gateway's memory."""

    code = "answer_too_large"

    def __init__(self, limit_mib: int) -> None:
        super().__init__(
            f"The answer is larger than {limit_mib} MiB, the most that this server sends as one piece. "
            "Ask for less: fewer answers ('n'), fewer logprobs, fewer inputs, or a stream."
        )


class KillsEngines(BadRequest):
    """Engines died while they had this request, before they had answered any of it."""

    code = "request_kills_engines"

    def __init__(self, model: str) -> None:
        super().__init__(
            f"Engines of '{model}' ended while they had this request, so it is not tried again for some minutes. Change the request: "
            "an unusual field, image or combination of fields is the likely cause."
        )


class NotFound(BadRequest):
    """Something that the request names is not there."""

    status = 404
    code = "not_found"


class TooManyImages(BadRequest):
    """More images than the model takes."""

    code = "too_many_images"

    def __init__(self, model: str, count: int, limit: int, param: str = "messages") -> None:
        allowed = f"at most {limit} image{'s' if limit != 1 else ''} per prompt" if limit else "no images"
        found = f"{count} image{'s' if count != 1 else ''}"
        super().__init__(f"The request has {found}, but the model '{model}' takes {allowed}.", param=param)


class BadImage(BadRequest):
    """An image that no engine shall decode: not in a known format, damaged, or too large for the model."""

    code = "invalid_image"

    def __init__(self, message: str, param: str) -> None:
        super().__init__(message, param=param)


class BodyTooLarge(BadRequest):
    """The body is over the gateway's limit."""

    status = 413
    code = "request_too_large"

    def __init__(self, limit_mib: float) -> None:
        super().__init__(f"The request's body is larger than this server takes ({limit_mib:g} MiB).")


class WrongMedia(BadRequest):
    """The body has a type or an encoding that this server does not read."""

    status = 415
    code = "unsupported_media_type"


class Forbidden(BadRequest):
    """The request comes from a web page, or by a name of this server, that the config does not allow."""

    status = 403
    code = "forbidden"


class Unauthorized(BadRequest):
    """The page needs a key, and the request has another one or none."""

    status = 401
    code = "unauthorized"


class UnknownPath(HerdError):
    """Nothing is served at this path with this method."""

    status = 404
    type = "invalid_request_error"
    code = "unknown_url"

    def __init__(self, method: str, path: str, allowed: Iterable[str] = (), meant: str | None = None) -> None:
        """Args:
        method: the request's.
        path: the request's.
        allowed: methods that the path knows.
        meant: a path that is served, and may have been meant.
        """
        self.allowed = tuple(allowed)
        hint = " See /v1/models for what is served."
        if self.allowed:
            hint = f" It answers to {', '.join(self.allowed)}."
        elif meant is not None:
            hint = f" Did you mean {meant}? The slashes and the /v1 of the client's base URL make the difference."
        super().__init__(f"Invalid URL ({method} {path[:_SHOWN]}).{hint}")
        self.status = 405 if self.allowed else 404


class NotServed(HerdError):
    """The model is known, and its engine does not do this."""

    status = 404
    type = "invalid_request_error"
    code = "unsupported_endpoint"


class UnknownModel(HerdError):
    """No model of that name."""

    status = 404
    type = "invalid_request_error"
    code = "model_not_found"

    def __init__(self, name: str, known: Iterable[str]) -> None:
        super().__init__(f"The model '{name[:_SHOWN]}' does not exist. Known models: {', '.join(known)}.", param="model")


class Timeout(HerdError):
    """Something took longer than the gateway waits."""

    status = 504
    type = "timeout_error"
    code = "timeout"
    retryable = True

    def __init__(self, message: str, status: int = 504) -> None:
        super().__init__(message)
        self.status = status


class Unavailable(HerdError):
    """No engine can take the request now; one may soon."""

    status = 503
    type = "server_error"
    code = "engine_unavailable"
    retryable = True


class ModelStopped(Unavailable):
    """An operator has taken the model's engines away; it is served again when they are started."""

    code = "model_stopped"
    retryable = False

    def __init__(self, model: str) -> None:
        super().__init__(
            f"The model '{model}' is stopped: its operator has taken its engines away. Ask for another one; /v1/models lists them.",
            param="model",
        )


class Starting(Unavailable):
    """The model has no replica yet, and the request does not wait for one, or not any longer."""

    code = "engine_starting"

    def __init__(self, model: str, retry_after_s: int, waited_s: float = 0.0) -> None:
        """Args:
        model: its id.
        retry_after_s: when it should have a replica.
        waited_s: how long the request has waited for one.
        """
        waited = f", and has not come up in the {waited_s:.0f} s for which this request has waited" if waited_s else ""
        super().__init__(f"The model '{model}' is starting{waited}. Try again in {retry_after_s} s.", retry_after_s=retry_after_s)


class Overloaded(HerdError):
    """More requests than the model's replicas can take; one that comes later may find room."""

    status = 429
    type = "rate_limit_error"
    code = "overloaded"
    retryable = True

    def __init__(self, model: str, retry_after_s: int, starting: bool = False) -> None:
        """Args:
        model: its id.
        retry_after_s: when there may be room.
        starting: it has no replica yet, and as many requests wait for one as may.
        """
        why = f"All replicas of '{model}' are busy"
        if starting:
            why = f"The model '{model}' is starting, and as many requests wait for it as may"
        super().__init__(f"{why}. Try again in {retry_after_s} s.", retry_after_s=retry_after_s)


class TooManyConnections(HerdError):
    """One more connection than a client may have, or than the server takes."""

    type = "rate_limit_error"
    code = "too_many_connections"
    retryable = True

    def __init__(self, message: str, status: int = 429) -> None:
        super().__init__(f"{message} Use connections again, or try later.", retry_after_s=1)
        self.status = status


class EngineLost(Unavailable):
    """The engine went away while serving the request."""

    code = "engine_gone"

    def __init__(self, model: str, retry_after_s: int, *, had_it: bool = True, alone: bool = False) -> None:
        """Args:
        model: its model.
        retry_after_s: when there should be an engine again.
        had_it: the engine had the request when it went away; else it was not reached.
        alone: the engine had no other request, as far as can be told.
        """
        super().__init__(f"The engine of '{model}' went away while serving this request. Try again.", retry_after_s=retry_after_s)
        self.had_it = had_it
        self.alone = alone


class EnginesLost(EngineLost):
    """As many engines went away while they had the request as may: no other is asked, of this model or another."""

    def __init__(self, retry_after_s: int | None) -> None:
        HerdError.__init__(
            self, "Engines went away while they had this request, so no other is asked now. Try again.", retry_after_s=retry_after_s
        )
        self.had_it, self.alone = True, False


class EngineFailed(Unavailable):
    """The engine answered, with an error that is not the client's."""

    status = 502
    code = "engine_failed"
