"""What every part of the schema is: frozen, and closed."""

from pydantic import BaseModel, ConfigDict


class Strict(BaseModel):
    """Frozen, and closed: a field that nobody knows is an error, never ignored."""

    model_config = ConfigDict(frozen=True, extra="forbid")
