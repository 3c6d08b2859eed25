"""The replicas of one model, as a gateway knows them. News of one replica costs the same however many there are."""

from collections.abc import Sequence

from deployments.policy.routing.availability import NEVER, Absence
from deployments.policy.routing.types import ReplicaState, ReplicaView


class KnownReplicas:
    """The replicas of one model, how many of them take requests, and how long the model has been away. It has no clock."""

    def __init__(self, on_demand: bool = False) -> None:
        """Args:
        on_demand: the model may have no replica while nobody asks for it.
        """
        self._on_demand = on_demand
        self.ready = 0
        """Replicas that take requests."""
        self.slow = 0
        """Replicas that take requests only while the others are full, because they are slow."""
        self.absence: Absence = NEVER
        self._views: dict[str, ReplicaView] = {}
        self._all: tuple[ReplicaView, ...] | None = ()

    @property
    def count(self) -> int:
        """Replicas that are known, ready or not."""
        return len(self._views)

    @property
    def all(self) -> tuple[ReplicaView, ...]:
        """Every replica, ready or not, in the order of the list. It is made anew when it is asked for after news."""
        if self._all is None:
            self._all = tuple(self._views.values())
        return self._all

    @property
    def is_down(self) -> bool:
        """Whether no replica takes requests, and some that should are dead or sick."""
        return not self.ready and any(view.state in (ReplicaState.DEAD, ReplicaState.SICK) for view in self.all)

    def change(self, on_demand: bool) -> None:
        """Takes whether the model may have no replica from now on while nobody asks for it."""
        self._on_demand = on_demand

    def get(self, replica: str) -> ReplicaView | None:
        """Returns the view of the replica with this id; None where it is not known."""
        return self._views.get(replica)

    def update(self, replicas: Sequence[ReplicaView], now_s: float) -> None:
        """Takes the list of all replicas, and what each says; any other is out."""
        self._views, self._all = {view.id: view for view in replicas}, None
        self.ready = sum(_is_ready(view) for view in replicas)
        self.slow = sum(_is_ready(view) and view.slow for view in replicas)
        self.absence = self.absence.after(self.ready > 0, self._longest_start_s, now_s, self._on_demand)

    def put(self, view: ReplicaView, now_s: float) -> None:
        """Takes what one replica of the list says."""
        before = self._views[view.id]
        self._views[view.id], self._all = view, None
        self.ready += _is_ready(view) - _is_ready(before)
        self.slow += (_is_ready(view) and view.slow) - (_is_ready(before) and before.slow)
        is_back = self.ready > 0 and self.absence.gone_at is not None
        # The starts of the others were taken in when they were told of; only an absence that ends is measured against all of them anew.
        start_s = self._longest_start_s if is_back else view.start_s
        self.absence = self.absence.after(self.ready > 0, start_s, now_s, self._on_demand)

    @property
    def _longest_start_s(self) -> float:
        return max((view.start_s for view in self._views.values()), default=0.0)


def _is_ready(view: ReplicaView) -> bool:
    return view.state is ReplicaState.READY
