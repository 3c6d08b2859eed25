"""Why a node of Ray's did not start, out of what `ray start` wrote.

Decides which lines name a cause, and the way out of each. Ray's output ends in a stack trace as often as in the cause.
"""

import re

MOST_CHARACTERS = 300
#: `ray start` tries a Redis that does not answer for more than a minute, and writes a line each half second.
_REDIS = re.compile(r"Could not establish connection to Redis (\S+)")
REDIS_TRIES = 10
_CAUSES = (
    (
        re.compile(r"timed out during startup|overloaded"),
        "this machine was too busy for it, and Ray gives itself 30 s. Close other programs, and try again",
    ),
    (
        re.compile(r"No space left on device"),
        "a disk is full (Ray writes to /tmp and to /dev/shm). `df -h` shows which one: make room, and try again",
    ),
    (re.compile(r"Cannot allocate memory"), "no memory was left for it. Close other programs, and try again"),
    (re.compile(r"Too many open files"), "it may not open enough files. `ulimit -n 65536` raises the limit; then try again"),
)
_MISMATCH = re.compile("Version mismatch.*")
_ERROR = re.compile(r"^(?:[a-zA-Z_]\w*\.)*[A-Z]\w*(?:Error|Exception): .+|^Exception: .+")


def why_not_started(output: str) -> str:
    """Returns the cause, and the way out where it is known, without a full stop; empty where the output names none.

    Args:
        output: of `ray start`, from its beginning.
    """
    if redis := _REDIS.search(output):
        return f"Redis at {redis[1]} does not answer (RAY_REDIS_ADDRESS). Start it, or correct the address"
    for pattern, sentence in _CAUSES:
        if pattern.search(output):
            return sentence
    errors = [line.strip() for line in output.splitlines() if _ERROR.match(line.strip())]
    return errors[-1].rstrip(".")[:MOST_CHARACTERS] if errors else ""


def is_hopeless(output: str) -> bool:
    """Tells whether `ray start` still tries what it has tried often enough."""
    return len(_REDIS.findall(output)) >= REDIS_TRIES


def why_no_way_in(error: Exception) -> str:
    """Returns why a program could not connect to a Ray cluster: the cause and the way out where it is known, else Ray's first words.

    Args:
        error: of `ray.init`.
    """
    message = " ".join(str(error).split())
    if mismatch := _MISMATCH.search(message):
        return f"{mismatch[0][:MOST_CHARACTERS]}. Install the same wheel on the same Python on every node"
    return f"{type(error).__name__}: {message[:MOST_CHARACTERS].rstrip('.')}" if message else type(error).__name__
