"""The base of every part of the schema: frozen, and closed."""

from pydantic import BaseModel, ConfigDict


class Strict(BaseModel):
    """Frozen, and closed: an unknown field is an error, and is never ignored."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)
