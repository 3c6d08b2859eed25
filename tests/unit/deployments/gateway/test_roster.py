"""`deployments.gateway.replicas.roster`: which replicas are in, which are out, how many requests each has."""

import pytest
from msgspec.structs import replace

from configs.routing import Routing
from deployments.gateway.replicas.departures import GONE_S
from deployments.gateway.replicas.roster import Roster
from deployments.policy.errors.client_errors import ModelStopped, Unavailable
from deployments.policy.request.prompt_blocks import Prompt
from deployments.policy.routing.availability import RETRY_AFTER_S
from deployments.policy.routing.types import Ask, Pick, Reason, ReplicaState, ReplicaView
from tests.unit.samples import replica

A, B = replica("a"), replica("b")


def chosen(roster: Roster, model: str) -> Pick:
    pick = roster.choose(model)
    assert pick is not None, "there is room"
    return pick


@pytest.fixture
def roster() -> Roster:
    made = Roster(["llama"])
    made.update("llama", [A, B])
    return made


def refusal(roster: Roster, model: str = "llama") -> str | None:
    with pytest.raises(Unavailable) as refused:
        chosen(roster, model)
    assert refused.value.retry_after_s == RETRY_AFTER_S
    return refused.value.reason


def test_model_without_replicas_is_starting_until_one_was_ready() -> None:
    roster = Roster(["llama"])
    assert refusal(roster) == "engine_starting"
    roster.update("llama", [replica("a", ReplicaState.DEAD)])
    assert refusal(roster) == "engine_starting"
    roster.update("llama", [A])
    assert chosen(roster, "llama").replica == A
    roster.update("llama", [])
    assert refusal(roster) == "engine_gone"


def test_start_of_a_model_on_demand_is_known_by_its_replicas_and_not_by_the_time_without_requests() -> None:
    now = 0.0
    roster = Roster(["llama", "scout"], clock=lambda: now, on_demand={"llama": 99.0})
    assert (roster.start_s("llama"), roster.is_down("llama")) == (0.0, False)
    assert [roster.assumed_start_s(model) for model in ("llama", "scout")] == [99.0, 0.0]
    for model in ("llama", "scout"):
        roster.update(model, [replace(replica("a"), model=model, start_s=20.0)])
        roster.update(model, [])
    now = 5000.0
    for model in ("llama", "scout"):
        roster.update(model, [replace(replica("a"), model=model, start_s=20.0)])
    assert (roster.start_s("llama"), roster.start_s("scout")) == (20.0, 5000.0)
    roster.keep(["llama"])
    assert roster.assumed_start_s("llama") == 0.0
    roster.update("llama", [replica("a", ReplicaState.DEAD)])
    now = 5070.0
    roster.update("llama", [replica("a")])
    assert roster.start_s("llama") == 70.0, "it must always have replicas now"
    roster.update("llama", [replica("a", ReplicaState.SICK)])
    assert roster.is_down("llama")


def test_a_sick_replica_is_out_and_told_of_once() -> None:
    told: list[ReplicaView] = []
    roster = Roster(["llama"], on_sick=told.append)
    roster.update("llama", [A, B])
    sick = replace(B, state=ReplicaState.SICK, canary="wrong")
    roster.heard(sick)
    roster.suspect(sick)
    roster.update("llama", [A, sick])
    assert told == [sick], "taken for dead in between, it is still the same one"
    assert chosen(roster, "llama").replica == A
    roster.heard(B)
    assert roster.ready("llama") == 2


def test_every_listener_is_told_of_each_model_whose_replicas_changed(roster: Roster) -> None:
    told: list[tuple[str, str]] = []
    for name in ("one", "two"):
        roster.listen(lambda model, name=name: told.append((name, model)))  # type: ignore[misc]
    roster.heard(replace(A, ongoing=1))
    assert told == [("one", "llama"), ("two", "llama")]
    roster.keep([])
    assert len(told) == 4


def test_a_slow_replica_is_ready_and_counted(roster: Roster) -> None:
    roster.update("llama", [replace(A, slow=True), replace(B, slow=True, state=ReplicaState.DEAD)])
    assert (roster.ready("llama"), roster.slow("llama")) == (1, 1)
    roster.heard(A)
    assert roster.slow("llama") == 0


def test_who_says_nothing_is_out(roster: Roster) -> None:
    roster.update("llama", [A])
    assert roster.replicas("llama") == (A,)
    assert chosen(roster, "llama").reason is Reason.ONLY


def test_only_those_that_are_ready_count(roster: Roster) -> None:
    roster.update("llama", [A, replica("b", ReplicaState.LEAVING), replica("c", ReplicaState.DEAD)])
    assert roster.ready("llama") == 1
    assert len(roster.replicas("llama")) == 3


def test_suspect_is_out_until_it_says_again_that_it_is_ready(roster: Roster) -> None:
    roster.suspect(A)
    assert [one.state for one in roster.replicas("llama")] == [ReplicaState.DEAD, ReplicaState.READY]
    assert chosen(roster, "llama").replica == B
    roster.suspect(B)
    assert refusal(roster) == "engine_gone"
    roster.update("llama", [A, B])
    assert roster.ready("llama") == 2


def test_what_a_replica_said_last_counts_whatever_way_it_comes(roster: Roster) -> None:
    newer, older = replace(A, number=8, ongoing=5), replace(A, number=7)
    roster.heard(newer)
    roster.heard(older)
    roster.update("llama", [older, B])
    assert roster.replicas("llama") == (newer, B)
    roster.suspect(older)
    assert roster.replicas("llama")[0] == replace(newer, state=ReplicaState.DEAD)


def test_news_of_a_replica_that_is_not_known_changes_nothing(roster: Roster) -> None:
    stranger = replica("c")
    roster.heard(stranger)
    roster.silent(stranger, periods=1000.0, reached=False)
    roster.suspect(stranger)
    assert (roster.replicas("llama"), roster.known("llama")) == ((A, B), 2)


def test_another_way_of_routing_knows_the_replicas_that_are_there(roster: Roster) -> None:
    roster.keep(["llama"], Routing(policy="round_robin"))
    assert chosen(roster, "llama").reason is Reason.ROUND_ROBIN


def test_replica_is_busier_while_requests_are_sent_to_it(roster: Roster) -> None:
    first = chosen(roster, "llama")
    with roster.sending(first), roster.sending(first):
        second = chosen(roster, "llama")
        assert second != first
        with roster.sending(second):
            assert chosen(roster, "llama").replica == second.replica
    assert chosen(roster, "llama").replica == first.replica


def test_request_that_failed_is_no_longer_counted(roster: Roster) -> None:
    first = chosen(roster, "llama")
    with pytest.raises(ConnectionError), roster.sending(first):
        raise ConnectionError
    assert chosen(roster, "llama").replica == first.replica


def test_new_config_forgets_models_and_expects_others(roster: Roster) -> None:
    roster.keep(["llama", "scout"])
    assert list(roster.models) == ["llama", "scout"]
    assert roster.ready("llama") == 2
    roster.keep(["scout"])
    assert roster.models == ("scout",)


def test_forgotten_model_does_not_come_back(roster: Roster) -> None:
    roster.keep([])
    roster.suspect(A)
    roster.update("llama", [A])
    assert not roster.models
    assert roster.replicas("llama") == ()
    with pytest.raises(ModelStopped, match=r"^The model 'llama' is stopped: its operator has taken its engines away") as refused:
        chosen(roster, "llama")
    assert (refused.value.status, refused.value.param, refused.value.reason) == (503, "model", "model_stopped")


def test_replica_that_is_silent_is_out_when_its_machine_is_not_reached(roster: Roster) -> None:
    roster.silent(A, periods=0.5, reached=True)
    assert roster.ready("llama") == 2
    roster.silent(A, periods=1000.0, reached=False)
    assert [view.id for view in roster.replicas("llama") if view.state is ReplicaState.READY] == [B.id]


def test_prompt_that_another_gateway_has_sent_is_looked_for_where_it_went(roster: Roster) -> None:
    blocks = tuple(range(100))
    roster.learned(B, Prompt(blocks, 1600))
    pick = roster.choose("llama", Ask(Prompt(blocks, 1600)))
    assert pick is not None
    assert (pick.replica, pick.reason) == (B, Reason.PREFIX)


def test_trap_17_replica_that_ray_gives_up_gets_no_request_and_its_prompts_have_another_home(roster: Roster) -> None:
    """Which replica goes is Ray's choice, also a hot one: its streams go on, and what is asked again is at home elsewhere at once."""
    prompts = [Prompt(tuple(range(first, first + 100)), 1600) for first in (0, 1000)]
    for prompt in prompts:
        roster.learned(A, prompt)
    roster.update("llama", [replace(A, state=ReplicaState.LEAVING), B, replica("c")])
    for prompt in prompts:
        first = roster.choose("llama", Ask(prompt))
        assert first is not None
        assert first.replica != A
        with roster.sending(first, prompt):
            pass
        again = roster.choose("llama", Ask(prompt))
        assert again is not None
        assert (again.replica, again.reason) == (first.replica, Reason.PREFIX)


def test_replica_that_breaks_under_its_only_request_is_out_and_had_no_other(roster: Roster) -> None:
    with roster.sending(chosen(roster, "llama")) as sending:
        assert roster.lost(A, sending)
    assert roster.ready("llama") == 1


def test_several_replicas_are_heard_at_once_and_those_that_nobody_knows_are_not_taken_in(roster: Roster) -> None:
    told: list[str] = []
    roster.listen(told.append)
    busy = [replace(view, ongoing=7) for view in (A, B)]
    roster.heard_all([*busy, replica("c"), replica("s", model="scout")])
    assert roster.replicas("llama") == tuple(busy)
    assert (roster.replicas("scout"), told) == ((), ["llama"])


class Gone:
    """A roster with a clock of the test's, and the replicas that it says are gone."""

    def __init__(self) -> None:
        self.now, self.ids = 0.0, list[str]()
        self.roster = Roster(["llama", "scout"], clock=lambda: self.now, on_gone=lambda view: self.ids.append(view.id))

    def after(self, seconds: float, *replicas: ReplicaView, model: str = "llama") -> list[str]:
        self.now += seconds
        self.roster.update(model, replicas)
        return self.ids


def test_replica_that_ray_has_not_named_for_some_periods_is_gone_and_told_once() -> None:
    gone = Gone()
    assert gone.after(0, A, B) == []
    assert gone.after(1, A) == []
    assert gone.after(GONE_S, A) == ["b"]
    assert gone.after(GONE_S, A) == ["b"]


def test_replica_that_was_left_out_once_is_not_gone() -> None:
    gone = Gone()
    gone.after(0, A, B)
    gone.after(1, A)
    gone.after(1, A, B)
    assert gone.after(GONE_S, A, B) == []
    other = replica("c", model="scout")
    gone.after(0, other, model="scout")
    gone.after(0, A)
    assert gone.after(GONE_S, other, model="scout") == [], "the list of another model says nothing of it"
    assert gone.after(0, A) == ["b"]
