"""Of whom a log file is, and what of its lines is shown."""

from datetime import UTC, datetime

import pytest

from deployments.policy.records.log_lines import (
    GATEWAY,
    MARK,
    MODEL,
    MOST_CHARACTERS,
    RAY,
    Line,
    Owner,
    Query,
    asks_for,
    is_of_a_worker,
    is_settled,
    lines_of,
    merged,
    owner_by_head,
    owner_by_name,
    stamp,
    tidy,
)

WORKER = "worker-11a5c1cf-01000000-13171.err"
ENGINE = ":job_id:01000000\n:actor_name:ServeReplica:model.org~scout:engine\n"
AT = datetime(2026, 11, 28, 17, 28, 4, 98000, UTC).timestamp()


@pytest.mark.parametrize(
    ("name", "owner"),
    [
        ("replica_model.smollm2-135m-instruct_engine_btqux0sh.log", Owner(MODEL, "smollm2-135m-instruct", "btqux0sh")),
        ("replica_model.org~my_model_engine_abc.log.2", Owner(MODEL, "org/my_model", "abc")),
        ("replica_gateway_gateway_xy2m0aq9.log", Owner(GATEWAY, "", "xy2m0aq9")),
        ("raylet.out", Owner(RAY, "", "raylet")),
        ("gcs_server.err", Owner(RAY, "", "gcs_server")),
        ("monitor.log", Owner(RAY, "", "monitor")),
        ("controller_12294.log", Owner(RAY, "", "controller")),
        ("controller_build_model.smollm2_12295.log", Owner(RAY, "", "controller")),
        (WORKER, None),
        ("python-core-worker-11a5_13171.log", None),
        ("debug_state.txt", None),
    ],
)
def test_name_of_a_file_says_whose_it_is(name: str, owner: Owner | None) -> None:
    assert owner_by_name(name) == owner
    assert is_of_a_worker(name) is (name == WORKER)


def test_first_lines_of_a_process_say_of_which_replica_it_is() -> None:
    own = owner_by_head(WORKER, ENGINE + "INFO 2026-11-28 17:28:04,108 model.org~scout_engine btqux0sh -- Using executor\n")
    assert own == Owner(MODEL, "org/scout", "btqux0sh")
    assert is_settled(own)
    of_ray = owner_by_head(WORKER, ":actor_name:RayWorkerWrapper\n" + MARK.format(replica="btqux0sh", model="org/scout") + "\n")
    assert of_ray == Owner(MODEL, "org/scout", "btqux0sh")
    gateway = ":actor_name:ServeReplica:gateway:gateway\nINFO 2026-11-28 17:27:49,551 gateway_gateway xy2m -- Started\n"
    assert owner_by_head(WORKER, gateway) == Owner(GATEWAY, "", "xy2m")


def test_replica_that_has_not_said_its_id_is_called_by_its_process() -> None:
    other = "INFO 2026-11-28 17:28:04,108 model.other_engine abc -- a line of another's\n"
    own = owner_by_head(WORKER, ENGINE + other)
    assert own == Owner(MODEL, "org/scout", "process 13171")
    assert not is_settled(own)
    assert owner_by_head("odd", ENGINE) == Owner(MODEL, "org/scout", "process ?")


def test_process_of_nobody_is_nobodys() -> None:
    assert owner_by_head(WORKER, ":job_id:01\n:actor_name:ServeController\n") is None
    assert not is_settled(None)


def test_query_asks_for_a_model_and_the_beginning_of_a_replicas_id() -> None:
    owner = Owner(MODEL, "scout", "btqux0sh")
    assert asks_for(Query(MODEL, "scout"), owner)
    assert asks_for(Query(MODEL, "scout", "btq"), owner)
    assert not asks_for(Query(MODEL, "scout", "abc"), owner)
    assert not asks_for(Query(MODEL, "other"), owner)
    assert not asks_for(Query(GATEWAY), owner)


@pytest.mark.parametrize(
    ("text", "when"),
    [
        ("INFO 2026-11-28T17:28:04.098Z vllm.config: x", AT),
        ("(EngineCore pid=7) INFO 2026-11-28T17:28:04.098Z vllm.config: x", AT),
        ("INFO 2026-11-28 18:28:04,098 model.x_engine abc -- x", AT),  # of the node's own zone, an hour ahead
        ("[2026-11-28 18:28:04,098 I 1 2] (raylet) x", AT),
        ("2026-11-28T17:28:04Z x", AT - 0.098),
        ("2026-11-28 25:61:00 x", None),
        ("Traceback (most recent call last):", None),
        ("x" * 130 + "2026-11-28T17:28:04Z", None),
    ],
)
def test_time_of_a_line(text: str, when: float | None) -> None:
    assert stamp(text, 3600.0) == (when if when is None else pytest.approx(when))


def test_lines_without_a_time_have_that_of_the_line_before() -> None:
    texts = ["no time", "INFO 2026-11-28T17:28:04.098Z a: x", "  File y", "", "   "]
    assert list(lines_of(texts, False, 0.0, 5.0)) == [
        (5.0, "no time"),
        (pytest.approx(AT), texts[1]),
        (pytest.approx(AT), "  File y"),
    ]


def test_lines_of_ray_serve_stand_once() -> None:
    texts = [":job_id:01", ":actor_name:ServeReplica:model.x:engine", "INFO 2026-11-28 17:28:04,108 model.x_engine abc -- y", "vLLM's"]
    assert [text for _, text in lines_of(texts, True, 0.0, 1.0)] == ["vLLM's"]
    assert len(list(lines_of(texts, False, 0.0, 1.0))) == 4, "in the file of the replica they are what there is"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[36mINFO\x1b[0m \x1b]0;x", "INFO 0;x"),
        ("\rLoading:  0%\rLoading: 100%\r", "Loading: 100%"),
        ("a\tb\x07", "a\tb"),
        ("\r", ""),
        ('Creating runtime env: {"env_vars": {"A": "secret"}, "x": 1}', 'Creating runtime env: {"env_vars": {…}, "x": 1}'),
        ("runtime env {'env_vars': {'A': 'secret'}}", "runtime env {'env_vars': {…}}"),
        ("x" * (MOST_CHARACTERS + 5), "x" * (MOST_CHARACTERS - 1) + "…"),
    ],
)
def test_line_is_shown_without_what_a_terminal_would_act_on(text: str, shown: str) -> None:
    assert tidy(text) == shown


def test_lines_of_several_nodes_are_merged_by_time() -> None:
    first = [Line(1.0, "a", "m", "r", "1"), Line(3.0, "a", "m", "r", "3")]
    second = [Line(1.0, "b", "m", "r", "2"), Line(4.0, "b", "m", "r", "4")]
    assert [line.text for line in merged([first, second])] == ["1", "2", "3", "4"]
