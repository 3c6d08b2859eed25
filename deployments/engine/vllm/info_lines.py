"""A vLLM plugin for every process of an engine: vLLM's own lines (weights, memory for the KV cache, NCCL) go to the process's error output.

Decides their shape: one line each, with the time in UTC, so that lines of several nodes can be put in order. vLLM's own set-up is switched
off (`VLLM_CONFIGURE_LOGGING=0`), because it goes through `logging.config.dictConfig`, which closes Ray Serve's handlers; here a handler is
added to one logger, and no other is touched. No line has a prompt in it: `enable_log_requests` stays off.
"""

import logging
import sys
import time

from configs.load import environment
from deployments.policy.records.log_lines import MARK

LOGGER = "vllm"
NAME = "herd"
SHAPE = "%(levelname)s %(asctime)s.%(msecs)03dZ %(name)s: %(message)s"


class _OneLine(logging.Formatter):
    """Writes times in UTC, and shows which lines belong to one message."""

    converter = staticmethod(time.gmtime)

    def format(self, record: logging.LogRecord) -> str:
        """Writes a record; its further lines are indented, so that they are seen to belong to it."""
        return super().format(record).replace("\n", "\n    ")


def speak() -> None:
    """vLLM calls this in each of its processes before it builds an engine, and a replica before that. Calling it again changes nothing.

    The first line says of which replica the process is a part, so that its lines are found when it is long gone.
    """
    logger = logging.getLogger(LOGGER)
    if any(handler.get_name() == NAME for handler in logger.handlers):
        return
    handler = logging.StreamHandler(sys.stderr)
    handler.set_name(NAME)
    handler.setFormatter(_OneLine(SHAPE, "%Y-%m-%dT%H:%M:%S"))
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False  # Ray's handler on the root logger would write it again
    if whose := environment().replica:
        sys.stderr.write(MARK.format(replica=whose[0], model=whose[1]) + "\n")
