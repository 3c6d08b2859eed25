"""The refusal of bytes that are no request, or none that this server reads."""

from deployments.policy.errors.client_errors import BadRequest

_CODES = {400: "invalid_http", 414: "url_too_long", 431: "headers_too_large", 501: "unsupported_transfer_encoding"}


class Unreadable(BadRequest):
    """Where a request ends cannot be known, so the connection closes behind this answer."""

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message, code=_CODES[status])
        self.status = status
