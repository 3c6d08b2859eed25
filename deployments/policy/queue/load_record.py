"""One gateway's record of a model's load, as JSON in the cluster's store: counts, and no word of any request.

Decides how a record is written and read. A gateway's record of a model replaces its last one; who reads it judges its age.
"""

import msgspec

#: The names of records begin so.
BEGINNING = "load/"
#: Seconds of one bucket. Buckets are numbered from 1970, so that those of several gateways can be added up.
BUCKET_S = 5.0


class Counted(msgspec.Struct, frozen=True, array_like=True):
    """The counts of one bucket; a bucket without events is left out."""

    number: int
    """Seconds since 1970 over `BUCKET_S`."""
    requests: float = 0.0
    """New ones: refused ones count, a client's retry of one does not."""
    prompt_tokens: float = 0.0
    """Of these, estimated from the size of their prompts."""
    answered_prompt_tokens: float = 0.0
    """Of requests whose answers ended."""
    answer_tokens: float = 0.0
    waited: bool = False
    """Requests waited for a replica all the while."""
    itl_s: float = 0.0
    """Seconds between tokens of nine of ten answers that ended; 0 where it is unknown."""
    squared_tokens: float = 0.0
    """The squares of `prompt_tokens` of each new request, added up: how unequal they are."""


class Usual(msgspec.Struct, frozen=True):
    """The average of recent requests."""

    requests: float = 0.0
    """Ended ones, as far as they are remembered: the weight of the rest. With 0 the rest says nothing."""
    answer_tokens: float = 0.0
    dwell_s: float = 0.0
    """At a replica, without the time in a line."""
    token_ratio: float = 1.0
    """Tokens of a prompt as its engine counts them over the estimate."""


class EngineLoads(msgspec.Struct, frozen=True):
    """A model's replicas, as they report themselves to every gateway: not to be added up."""

    ready: int = 0
    leaving: int = 0
    waiting: int = 0
    """Requests that their schedulers have not begun."""
    prefill_tokens: float = 0.0
    """Of prompts that are not computed yet."""
    hit_share: float = 0.0
    """Of prompt tokens that prefix caches had, lately."""
    youngest_s: float = 0.0
    """Seconds since the youngest became ready."""
    room: int = 0
    """Requests that one runs at once; 0 where none has said."""
    kinds: int = 1
    """How many settings they were made of: more than one while an upgrade goes on."""


class LoadRecord(msgspec.Struct, frozen=True):
    """One gateway's view of one model."""

    gateway: str
    release: str
    at_s: float
    """When it was written, in seconds since 1970."""
    since_s: float
    """From when on the gateway has counted."""
    buckets: tuple[Counted, ...] = ()
    """Oldest first; the last one may not be over."""
    waiting: int = 0
    """Requests that wait in its line, or were refused a moment ago."""
    waiting_tokens: float = 0.0
    """Of their prompts, estimated."""
    running: int = 0
    """Its requests at replicas."""
    usual: Usual = Usual()
    engines: EngineLoads = EngineLoads()


def key(model: str, gateway: str) -> str:
    """Returns the name under which a gateway's record of a model is kept."""
    return f"{beginning(model)}{gateway}"


def beginning(model: str) -> str:
    """Returns how the names of a model's records begin; no model's is the beginning of another's."""
    return f"{BEGINNING}{model}#"


_DECODER = msgspec.json.Decoder(LoadRecord)


def written(record: LoadRecord) -> str:
    """Writes a record as JSON."""
    return msgspec.json.encode(record).decode()


def read(text: str) -> LoadRecord | None:
    """Reads a record; None where it is none, or one that this release cannot read."""
    try:
        return _DECODER.decode(text)
    except (msgspec.DecodeError, UnicodeError):
        return None
