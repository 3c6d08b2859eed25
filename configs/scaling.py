"""Says what a model's answers should keep to, and which replicas it has at which hours."""

from typing import Annotated, Self

from pydantic import Field, StringConstraints, model_validator

from configs.strict import Strict

Days = Annotated[str, StringConstraints(pattern=r"^[a-z]{3,8}(-[a-z]{3})?(,[a-z]{3,8}(-[a-z]{3})?){0,6}$")]
Hour = Annotated[str, StringConstraints(pattern=r"^(([01][0-9]|2[0-3]):[0-5][0-9]|24:00)$")]
Zone = Annotated[str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9_+/-]{0,63}$")]


class Slo(Strict):
    """The objectives of a model's answers. Autoscaling buys replicas for them, and says it where no number of replicas meets them."""

    ttft_s: float = Field(
        3.0,
        gt=0,
        le=3600,
        description="An answer should begin within this many seconds of its request's arrival. Of requests that wait for a slot, those that"
        " still can go first.",
    )
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


class Scaling(Strict):
    """A range within which the number of replicas moves."""

    min_replicas: int = Field(
        1,
        ge=0,
        le=1024,
        description="The model has at least this many replicas. With 0 it has none while nobody asks for it, and its first requests wait "
        "until replicas have started (`gateway.limits.start_wait_s`).",
    )
    max_replicas: int = Field(1, ge=1, le=1024, description="The model has at most this many replicas.")
    target_ongoing_requests: float = Field(
        32,
        gt=0,
        le=4096,
        description="One replica should carry this many requests in flight, and no more than it runs at once. Where the planner knows the "
        "engine's speed on its GPUs, that decides instead.",
    )
    schedules: tuple[Schedule, ...] = Field((), description="The model has more replicas at these hours. Hours of two must not overlap.")
    gpus: int | None = Field(None, ge=1, le=1 << 20, description="The replicas may hold this many GPUs together. Default: no limit.")
    gpu_hour_price: float | None = Field(
        None, gt=0, le=10_000, description="One GPU costs this much in an hour, in your currency. Decisions are told with their price."
    )
    hour_price: float | None = Field(
        None, gt=0, le=1e9, description="The replicas may cost this much in an hour together. It needs `gpu_hour_price`."
    )
    priority: int = Field(
        0,
        ge=-100,
        le=100,
        description="Where GPUs are short, models of higher priority get theirs first, and others give replicas up for them, down to "
        "`min_replicas`. Models of one priority share. It has nothing to do with a request's priority.",
    )
    clear_s: float = Field(60, gt=0, le=3600, description="Requests that wait should be served within this many seconds.")
    headroom: float = Field(
        0.0,
        ge=0,
        le=10,
        description="Replicas are kept for at least this share of the expected load beyond it: with 1 for twice the load. Room that past "
        "jumps of the load ask for is part of it, and not added.",
    )
    patience_s: float | None = Field(
        None,
        ge=1,
        le=86400,
        description="One replica less must have been enough for this many seconds before one is given up. Default: 45.",
    )
    start_s: float = Field(120, ge=1, le=7200, description="A start is taken to last this many seconds until some have been measured.")
    idle_s: float = Field(
        600, ge=1, le=86400, description="A model with `min_replicas: 0` goes to none after this many seconds without a request."
    )

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min_replicas > self.max_replicas:
            raise ValueError(f"min_replicas ({self.min_replicas}) must not be above max_replicas ({self.max_replicas})")
        if self.headroom and self.min_replicas == self.max_replicas:
            raise ValueError("headroom needs a range: max_replicas must be above min_replicas")
        if self.hour_price is not None and self.gpu_hour_price is None:
            raise ValueError("hour_price needs gpu_hour_price: without a price of a GPU there is nothing to add up")
        for index, one in enumerate(self.schedules):
            if one.min_replicas > self.max_replicas:
                raise ValueError(
                    f"schedules[{index}].min_replicas ({one.min_replicas}) must not be above max_replicas ({self.max_replicas})"
                )
        return self
