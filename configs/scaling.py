"""Says what a model's answers should keep to, and which replicas it has at which hours."""

from typing import Annotated

from pydantic import Field, StringConstraints

from configs.strict import Strict

Days = Annotated[str, StringConstraints(pattern=r"^[a-z]{3,8}(-[a-z]{3})?(,[a-z]{3,8}(-[a-z]{3})?){0,6}$")]
Hour = Annotated[str, StringConstraints(pattern=r"^(([01][0-9]|2[0-3]):[0-5][0-9]|24:00)$")]
Zone = Annotated[str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9_+/-]{0,63}$")]


class Slo(Strict):
    """The objectives of a model's answers. Autoscaling buys replicas for them, and says it where no number of replicas meets them."""

    ttft_s: float = Field(3.0, gt=0, le=3600, description="An answer should begin within this many seconds of its request's arrival.")
    itl_s: float = Field(0.1, gt=0, le=60, description="Two tokens of an answer should be at most this many seconds apart, on average.")
    quantile: float = Field(0.9, ge=0.5, le=0.999, description="Both should hold for this share of the requests.")
    availability: float = Field(
        0.999, ge=0.5, le=0.99999, description="This share of the requests should be answered, but for those whose own fault prevents it."
    )


class Schedule(Strict):
    """A floor of a model's replicas during some hours. Its replicas are started early enough to be ready when it begins."""

    days: Days = Field(
        "daily", description="The hours begin on these days: daily, weekdays, weekends, or days such as mon, mon-fri or sat,sun."
    )
    begins: Hour = Field(description="The floor holds from this time of the day: 08:00.")
    ends: Hour = Field(description="The floor holds until this time, on the next day where it is not later than `begins`.")
    time_zone: Zone = Field("UTC", description="The times are those of this zone of IANA's: Europe/Berlin.")
    min_replicas: int = Field(ge=1, le=1024, description="The model has at least this many replicas during the hours.")

    @property
    def text(self) -> str:
        """Returns the hours as a person writes them."""
        return f"{self.days} {self.begins}-{self.ends}"
