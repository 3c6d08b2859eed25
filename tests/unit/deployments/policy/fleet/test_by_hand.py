"""`deployments.policy.fleet.by_hand`: what an order makes of the declared herd, and that a file takes changes by hand back."""

from typing import Any

import pytest

from deployments.policy.fleet.by_hand import ByHand, DeclaredHerd, Marked, Order, Refused, applied, overruled, resolved, taken_back, told
from tests.unit.samples import config, model, scout

FIXED, RANGE = model(aliases=["small"]), scout(scaling={"min_replicas": 1, "max_replicas": 4})
FILE = config(FIXED, RANGE)
NOW = DeclaredHerd(file=FILE, by="bob@head", at="then")


def order(what: Any, **fields: Any) -> Order:
    return Order(what=what, by="ann@head", at="2026-11-28T12:00:00Z", **fields)


def after(what: Any, now: DeclaredHerd | None = NOW, before: DeclaredHerd | None = None, **fields: Any) -> DeclaredHerd:
    return resolved(order(what, **fields), now, before)


def test_file_is_what_it_says() -> None:
    declared = after("up", now=None, file=FILE)
    assert declared == DeclaredHerd(file=FILE, by="ann@head", at="2026-11-28T12:00:00Z")
    assert declared.config == FILE


@pytest.mark.parametrize("name", ["llama", "small"])
def test_fixed_number_is_scaled(name: str) -> None:
    scaled = after("scale", model=name, replicas=3)
    assert (scaled.config.models[0].replicas, scaled.config.models[0].scaling) == (3, None)
    assert (scaled.file, scaled.by) == (FILE, "ann@head")
    again = after("scale", now=scaled, model=name, replicas=1)
    assert (again.config, again.by_hand) == (FILE, ByHand()), "as the file says"


def test_fixed_number_becomes_a_range_where_a_most_is_given() -> None:
    first, _ = after("scale", model="llama", replicas=1, most=3).config.models
    assert (first.replicas, first.scale.min_replicas, first.scale.max_replicas) == (None, 1, 3)


def test_range_of_an_autoscaled_model_gets_new_ends() -> None:
    _, second = after("scale", model="scout", replicas=3).config.models
    assert (second.scale.min_replicas, second.scale.max_replicas) == (3, 4)
    _, second = after("scale", model="scout", replicas=5, most=6).config.models
    assert (second.scale.min_replicas, second.scale.max_replicas) == (5, 6)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"model": "scout", "replicas": 5}, r"at most 4 replicas, and 5 are asked for. `--max 5` raises that."),
        ({"model": "scout", "replicas": 5, "most": 2}, r"at most 2 replicas, and 5 are asked for.$"),
        ({"model": "llama", "replicas": 0}, r"`herd stop llama` takes its engines away"),
        ({"model": "llama", "replicas": 2000}, r"at most 1024 replicas"),
        ({"model": "other", "replicas": 2}, r"no model 'other'. It has llama, scout."),
    ],
)
def test_number_that_cannot_be_is_refused(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(Refused, match=words):
        after("scale", **fields)


def test_most_below_a_schedules_floor_is_refused() -> None:
    hours = {"days": "weekdays", "begins": "08:00", "ends": "18:00", "min_replicas": 4}
    now = DeclaredHerd(file=config(model(scaling={"max_replicas": 6, "schedules": [hours]})), by="bob@head", at="then")
    with pytest.raises(Refused, match=r"at least 4 replicas weekdays 08:00-18:00, by its schedules"):
        after("scale", now=now, model="llama", replicas=1, most=3)
    assert after("scale", now=now, model="llama", replicas=1, most=4).config.models[0].scale.max_replicas == 4


def test_model_is_stopped_and_started() -> None:
    stopped = after("stop", model="scout")
    assert [one.stopped for one in stopped.config.models] == [False, True]
    for what in ("stop", "restart"):
        with pytest.raises(Refused, match=r"scout is stopped. `herd start scout` starts it."):
            after(what, now=stopped, model="scout")
    started = after("start", now=stopped, model="scout")
    assert (started.config, started.by_hand) == (FILE, ByHand()), "as the file says: nothing is left to be taken back"
    with pytest.raises(Refused, match="llama is not stopped"):
        after("start", now=stopped, model="llama")


def test_restart_stands_in_no_config_and_outlives_a_file() -> None:
    restarted = after("restart", model="llama")
    assert restarted.config == FILE
    assert restarted.restarts == {"llama": "2026-11-28T12:00:00Z"}
    scaled = after("scale", now=restarted, model="llama", replicas=2)
    again = after("up", now=scaled, file=FILE)
    assert (again.config, again.restarts) == (FILE, restarted.restarts)


def test_roll_back_goes_to_the_herd_before_with_its_changes_by_hand() -> None:
    before = after("scale", now=DeclaredHerd(file=config(model())), model="llama", replicas=3)
    restarted = after("restart", model="llama")
    back = after("rollback", now=restarted, before=before)
    assert back.config.models[0].replicas == 3
    assert (back.file, back.restarts) == (before.file, restarted.restarts)
    with pytest.raises(Refused, match="nothing to go back to"):
        after("rollback")


def test_one_model_of_a_file_is_changed_and_the_others_stay() -> None:
    hand = after("scale", now=after("scale", model="scout", replicas=2), model="llama", replicas=3)
    file = config(model(context_tokens=4096), scout(context_tokens=4096), model(id="new", stop_s=3), gateway={"port": 9})
    changed = after("up", now=hand, file=file, model="llama")
    assert (changed.config.models[0].context_tokens, changed.config.models[0].replicas) == (4096, None)
    assert changed.config.models[1] == hand.config.models[1]
    assert changed.config.gateway == FILE.gateway
    added = after("up", now=hand, file=file, model="new")
    assert [one.id for one in added.file.models] == ["llama", "scout", "new"]
    with pytest.raises(Refused, match=r"The file has no model 'other'. It has llama, scout, new."):
        after("up", now=hand, file=file, model="other")


def test_one_model_that_the_herd_cannot_have_is_refused() -> None:
    file = config(model(id="other", aliases=["small"]))
    with pytest.raises(Refused, match=r"cannot have other as the file has it: .*'small', which models\[0\] already has. `herd up FILE`"):
        after("up", file=file, model="other")


@pytest.mark.parametrize("what", ["rollback", "scale"])
def test_order_without_a_herd_is_refused(what: str) -> None:
    with pytest.raises(Refused, match="No herd is up"):
        after(what, now=None, model="llama", replicas=1)


def test_changes_by_hand_are_told_with_their_operator_and_time() -> None:
    hand = after(
        "stop", now=after("scale", now=after("scale", model="llama", replicas=3), model="scout", replicas=2), model="llama"
    ).by_hand
    assert list(told(hand)) == [
        "llama was scaled by hand to 3 by ann@head at 2026-11-28T12:00:00Z",
        "scout was scaled by hand to 2 to 4 by ann@head at 2026-11-28T12:00:00Z",
        "llama was stopped by hand by ann@head at 2026-11-28T12:00:00Z",
    ]
    assert list(told(hand, frozenset({"scout"}))) == ["scout was scaled by hand to 2 to 4 by ann@head at 2026-11-28T12:00:00Z"]
    off = DeclaredHerd(file=config(model(stopped=True)))
    assert list(told(after("start", now=off, model="llama").by_hand)) == ["llama was started by hand by ann@head at 2026-11-28T12:00:00Z"]
    assert list(told(taken_back(hand, frozenset({"llama"})))) == ["scout was scaled by hand to 2 to 4 by ann@head at 2026-11-28T12:00:00Z"]


def test_only_a_file_takes_changes_by_hand_back_and_of_its_own_models() -> None:
    hand = after("scale", now=after("scale", model="llama", replicas=3), model="scout", replicas=2)
    assert overruled(order("up", file=FILE), None) == ()
    assert overruled(order("stop", model="llama"), hand) == ()
    assert len(overruled(order("up", file=FILE), hand)) == 2
    (one,) = overruled(order("up", file=FILE, model="small"), hand)
    assert one.startswith("llama was scaled by hand to 3")


def test_change_by_hand_of_a_model_that_is_no_more_counts_for_nothing() -> None:
    assert applied(FILE, ByHand(restarted={"gone": Marked(by="a", at="b")}, scaled={})) == FILE


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        (order("up", file=FILE), "herd up"),
        (order("up", file=FILE, model="llama"), "herd up --only llama"),
        (order("scale", model="llama", replicas=2, most=3), "herd scale llama 2 --max 3"),
        (order("rollback"), "herd rollback"),
    ],
)
def test_order_is_told_as_it_is_typed(asked: Order, words: str) -> None:
    assert asked.words == words


def test_range_may_begin_at_zero_which_is_no_stop() -> None:
    _, second = after("scale", model="scout", replicas=0).config.models
    assert (second.scale.min_replicas, second.scale.max_replicas, second.on_demand, second.stopped) == (0, 4, True, False)
    apart = DeclaredHerd(file=config(scout(scaling={"min_replicas": 1, "max_replicas": 4}, prefill={})))
    with pytest.raises(Refused, match=r"scout has at least one replica while it runs"):
        after("scale", now=apart, model="scout", replicas=0)
