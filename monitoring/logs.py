"""Log lines as JSON, one event each, through the standard library's handlers that are there already.

Decides the shape of a line. Never configures the root logger: Ray Serve has handlers on it, and taking them away breaks its replicas.
A line carries names, numbers and request ids; never a prompt, a completion, a key or a header.
"""

import logging

import structlog

LOGGER = "ray.serve"


def configure() -> None:
    """Sends structlog's events to Ray Serve's logger, so that they stand in each replica's own log file. Safe to call again."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=lambda *_: logging.getLogger(LOGGER),
        cache_logger_on_first_use=True,
    )
