"""The true cause of an engine that could not start, out of its error and the lines of its log.

Decides which of several errors is told: vLLM's own processes fail first, and the replica only hears that they did.
"""

import re
from collections.abc import Sequence

MOST_CHARACTERS = 400
#: Errors of this project, each line of which is a sentence, and which say themselves what to do.
OWN = re.compile(r"(?:\w+\.)*(?:WeightsError|HubUnreachable|PlacementError|OpenRay)\b")
#: Errors that only say that another process has failed.
_GENERIC = re.compile(
    r"Engine core (initialization failed|proc .* died)|EngineDeadError|EngineGenerateError|See root cause above|ActorDiedError|"
    r"RayTaskError|Worker failed|SystemExit|KeyboardInterrupt"
)
_ERROR = re.compile(
    r"^(?:\([^)]*\) )?(?:[A-Z]+ \S+ \S+: )?\s*((?:[a-zA-Z_]\w*\.)*[A-Z]\w*(?:Error|Exception|NotFit|Interrupt|Exit))(?:: (.*))?$"
)
_VALUE = re.compile(r"validation errors? for .*\n(?:.*\n)*?  (?:Value error|Assertion failed), (.+?)(?: \[type=|$)", re.MULTILINE)
KILLED = "vLLM's process ended without a word: most likely the machine had no memory left (`dmesg` on the node tells)"


def cause(error: str, lines: Sequence[str]) -> str:
    """Returns one line with the cause of a failed start.

    Args:
        error: `Type: message` of the replica's own error.
        lines: of its log, oldest first.
    """
    if OWN.match(error):
        return _cut(error)
    own = next((line.strip() for line in error.splitlines() if line.strip()), "no message")
    if (wrong := _VALUE.search(error)) is not None:  # pydantic's first line only counts the errors
        return _cut(f"{own.partition(':')[0]}: {wrong[1]}")
    if not _GENERIC.search(error):
        return _cut(own)
    found = [f"{one[1]}: {one[2]}" if one[2] else one[1] for line in lines if (one := _ERROR.match(line)) and not _GENERIC.search(line)]
    return _cut(found[-1] if found else f"{KILLED}; {own}")


def _cut(text: str) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= MOST_CHARACTERS else f"{flat[: MOST_CHARACTERS - 1]}…"
