"""`deployments.policy.fleet.herd_diff`: what a change would do, told before it is done."""

import json
from dataclasses import replace
from typing import Any

import pytest

from configs.schema import Config, Model
from deployments.lifecycle import applications as app
from deployments.policy.fleet.herd_diff import (
    CHANGE,
    NO_CHANGE,
    NOT_SHOWN,
    REFUSED,
    Field,
    HerdDiff,
    Kind,
    Move,
    Outlook,
    fields,
    lines,
    moves,
    told,
)
from deployments.policy.fleet.rollout_steps import Declared
from tests.unit.samples import config, model, scout

ROOM, CROWDED = Outlook(surges=True, start_s=31.4, measured=True), Outlook(surges=False, start_s=31.4, measured=True)
SAME = HerdDiff((), (), (), (0, 0), ())


def declared(*models: Model, nodes: int = 1, restarts: dict[str, str] | None = None, **more: Any) -> Declared:
    return dict(app.declared(config(*models, **more), nodes, {}, restarts or {}).model_dump(mode="json", exclude_unset=True))


def moved(before: Declared | None, after: Declared) -> list[tuple[str, Kind, tuple[int, int]]]:
    return [(one.application, one.kind, one.replicas) for one in moves(before, after, "gateway")]


def test_fields_that_differ_are_told_by_path_and_models_by_id() -> None:
    old = config(model(), scout(), gateway={"port": 8000})
    new = config(scout(), model(context_tokens=4096, sampling={"top_k": 3}, engine={"max_num_seqs": 4}), gateway={"port": 8001})
    assert fields(old, new) == (
        Field("gateway.port", "8000", "8001"),
        Field("models.llama.context_tokens", "8192", "4096"),
        Field("models.llama.sampling.top_k", "", "3"),
        Field("models.llama.engine.max_num_seqs", "", "4"),
    )
    assert fields(old, old) == ()


def test_models_that_come_and_go_are_one_line_each() -> None:
    assert fields(config(model()), config(scout())) == (Field("models.llama", "a model", ""), Field("models.scout", "", "a model"))


def of_cluster(**more: Any) -> Config:
    cluster = {
        "secret_command": "cat /s",
        "secrets": {"HF_TOKEN": {"file": "/run/hf"}},
        "environment": {"PASS": "one"},
        "onprem": {"head": "10.0.0.1"},
    }
    return Config.model_validate(config(model()).model_dump(mode="json") | {"ray": {"address": "auto"}, "cluster": cluster | more})


def test_secrets_are_never_shown() -> None:
    new = of_cluster(secret_command="cat hunter2", secrets={"HF_TOKEN": {"file": "/hunter2"}}, environment={"PASS": "hunter2"})
    found = fields(of_cluster(), new)
    assert {one.path: (one.old, one.new) for one in found} == dict.fromkeys(
        ("cluster.environment.PASS", "cluster.secrets.HF_TOKEN.file", "cluster.secret_command"), (NOT_SHOWN, NOT_SHOWN)
    )
    (whole,) = (one for one in fields(config(model()), new) if one.path == "cluster")
    assert whole.new == "a section"


def test_long_values_are_cut() -> None:
    (found,) = fields(config(model()), config(model(checkpoint="/" + "x" * 100)))
    assert len(found.new) == 60


def test_every_application_of_a_new_herd_starts() -> None:
    assert moved(None, declared(model(replicas=2))) == [("model.llama", Kind.STARTS, (0, 2)), ("gateway", Kind.STARTS, (0, 1))]


def test_engines_are_made_anew_one_model_after_the_other() -> None:
    before, after = declared(model(), scout()), declared(model(context_tokens=4096), scout(context_tokens=4096))
    first, second = moves(before, after, "gateway")
    assert (first, second.application) == (Move("model.llama", Kind.RESTARTS, (1, 1), ("context_tokens",)), "model.scout")
    assert moves(before, before, "gateway") == ()


def test_models_come_go_and_change_their_number() -> None:
    before = declared(model(), scout(scaling={"max_replicas": 2}))
    after = declared(model(replicas=3), model(id="new"))
    assert set(moved(before, after)) == {
        ("model.new", Kind.STARTS, (0, 1)),
        ("model.scout", Kind.GOES, (1, 0)),
        ("model.llama", Kind.SCALES, (1, 3)),
    }
    (found,) = moves(before, declared(model(), scout(scaling={"max_replicas": 4})), "gateway")
    assert told(found, "scout", ROOM).sentence == "its range of replicas changes"


def test_restart_by_hand_and_new_gateways_are_told() -> None:
    (found,) = moves(declared(model()), declared(model(), restarts={"llama": "now"}), "gateway")
    assert (found.kind, found.because) == (Kind.RESTARTS, ("restarted",))
    (found,) = moves(declared(model()), declared(model(), gateway={"port": 8001}), "gateway")
    assert (found.application, found.kind, found.because) == ("gateway", Kind.RESTARTS, ("port",))
    assert moved(declared(model()), declared(model(), nodes=2))[0][1] is Kind.RESTARTS


WIDE: dict[str, Any] = {"parallel": {"tensor": 8, "data": 2, "expert": True}, "accelerator": "H100"}


def test_model_with_another_number_of_ranks_is_away_as_a_whole() -> None:
    before, after = declared(scout(accelerator="H100", parallel={"tensor": 8})), declared(scout(**WIDE, replicas=2))
    (found,) = moves(before, after, "gateway")
    assert (found.whole, found.replicas) == (True, (1, 2))
    said = told(found, "scout", ROOM)
    assert (said.away_s, said.sentence.rpartition(": ")[2]) == (31.4, "all stop first, away for about 31 s, as last time")


@pytest.mark.parametrize(
    ("move", "outlook", "away_s", "words"),
    [
        (Move("a", Kind.STARTS, (0, 1)), ROOM, 0, "1 replica start: it answers after about 31 s, as last time"),
        (Move("a", Kind.STARTS, (0, 0)), ROOM, 0, "it begins at zero: its first request starts it, and waits about 31 s, as last time"),
        (
            Move("a", Kind.SCALES, (1, 0)),
            ROOM,
            0,
            "it may go to zero: it has no replica while nobody asks for it, and its first request starts it",
        ),
        (Move("a", Kind.SCALES, (0, 2)), ROOM, 0, "0 → 2 replicas, and no other is touched"),
        (Move("a", Kind.SCALES, (0, 0)), ROOM, 0, "its range of replicas changes"),
        (Move("a", Kind.RESTARTS, (0, 0)), ROOM, 0, "the replicas that it has are made anew: away 0 s, new replicas first"),
        (Move("a", Kind.GOES, (2, 0)), ROOM, 0, "its replicas go (2); requests under way are finished"),
        (Move("a", Kind.SCALES, (1, 3)), ROOM, 0, "1 → 3 replicas, and no other is touched"),
        (Move("a", Kind.RESTARTS, (1, 1)), ROOM, 0, "1 replica made anew: away 0 s, new replicas first"),
        (
            Move("a", Kind.RESTARTS, (2, 2), tuple("abcde")),
            CROWDED,
            0,
            "2 replicas made anew (a, b, c, d …): away 0 s, one stops first at a time and the others answer",
        ),
        (
            Move("a", Kind.RESTARTS, (1, 1)),
            Outlook(surges=False, start_s=900, measured=False),
            900,
            "1 replica made anew: no room for one more, so the old one stops first: away for at most 900 s",
        ),
    ],
)
def test_move_is_told_with_the_time_that_the_model_is_away(move: Move, outlook: Outlook, away_s: float, words: str) -> None:
    said = told(move, "a", outlook)
    assert (said.away_s, said.sentence) == (away_s, words)


def test_exit_code_says_whether_anything_changes() -> None:
    said = told(Move("a", Kind.SCALES, (1, 2)), "llama", ROOM)
    changed = HerdDiff((Field("gateway.port", "", "1"),), (said,), ("llama was scaled by hand to 3",), (8, 16), ())
    refused = HerdDiff((), (said,), (), (8, 64), ("the herd takes 64 GPUs",))
    assert [one.code for one in (SAME, changed, refused)] == [NO_CHANGE, CHANGE, REFUSED]
    assert HerdDiff((), (), (), (0, 0), (), new=True).code == CHANGE
    assert list(lines(SAME)) == ["Nothing changes."]
    assert list(lines(changed)) == [
        "gateway.port: (none) → 1",
        "! llama was scaled by hand to 3: this takes it back",
        "1. llama: 1 → 2 replicas, and no other is touched",
        "GPUs: 8 → 16",
        "The planner agrees.",
    ]
    assert "GPUs: 8 → 16, at most 8 → 32" in lines(replace(changed, most_gpus=(8, 32)))
    assert not any(line.startswith("GPUs") for line in lines(replace(changed, gpus=(0, 0))))
    assert list(lines(refused))[-1] == "The planner refuses it: the herd takes 64 GPUs"
    plain = json.loads(json.dumps(changed.as_plain()))
    assert (plain["result"], plain["gpus"], plain["moves"][0]["what"]) == ("change", {"before": 8, "after": 16}, "scales")
