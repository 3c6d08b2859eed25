"""`herd status --url` and `herd why --url`: a gateway is asked as the other commands ask one, with the key to its pages."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from configs.keys import derived
from tests.unit.command_line import invoke
from tests.unit.deployments.commands.fake_gateway import Gateway, serving

ROOT = "0123456789abcdef" * 4
PAGE = {"models": {"scout": [{"id": "scout_engine#r1", "state": "ready", "node": "n1", "ongoing": 3}]}, "waiting": {"scout": 2}}


@pytest.fixture
def gateway() -> Iterator[Gateway]:
    with serving() as one:
        one.status = PAGE
        yield one


def run(*words: str, **env: str | None) -> Any:
    return invoke([*words], env={"HERD_SECRET": None, "OPENAI_API_KEY": "sk-another-service", **env})


@pytest.mark.parametrize("path", ["", "/", "/v1", "/v1/"])
def test_status_and_why_of_a_gateway_at_an_address(gateway: Gateway, path: str) -> None:
    done = run("status", "--json", "--url", gateway.url + path)
    assert done.exit_code == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["endpoint"] == gateway.url
    assert [(one["id"], one["ongoing_requests"], one["queue"]) for one in said["models"]] == [("scout", 3, 2)]
    assert run("why", "scout", "--url", gateway.url + path).exit_code == 0
    assert {asked for asked, _, _ in gateway.asked} == {"/-/status"}


def test_key_is_shown_to_a_gateway_that_asks_for_it_only(gateway: Gateway) -> None:
    assert run("status", "--url", gateway.url, HERD_SECRET=ROOT).exit_code == 0
    gateway.key = derived(ROOT, "pages")
    assert run("status", "--url", gateway.url, HERD_SECRET=ROOT).exit_code == 0
    assert [key for _, _, key in gateway.asked] == [None, None, f"Bearer {gateway.key}"]


@pytest.mark.parametrize(("secret", "words"), [(None, "set HERD_SECRET."), (ROOT[::-1], "the one in HERD_SECRET is not right.")])
def test_gateway_that_accepts_no_key_is_told_by_the_variable(gateway: Gateway, secret: str | None, words: str) -> None:
    gateway.key = derived(ROOT, "pages")
    done = run("why", "scout", "--url", gateway.url, HERD_SECRET=secret)
    assert done.exit_code == 1
    assert f"asks for a key to its pages, which are for operators: {words}" in " ".join(done.stderr.split())


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--url", "http://127.0.0.1:9"], "does not answer"),
        (["--url", "ftp://a"], "is no address of a gateway"),
        (["--url", "http://user:word@a"], "has a user or a password in it"),
        (["--url", "http://a", "--name", "b"], "--url and --name both say which herd"),
        (["--ca", "ca.pem"], "--ca is for --url"),
    ],
)
@pytest.mark.parametrize("command", [["status"], ["why", "scout"]])
def test_words_that_name_no_gateway(command: list[str], words: list[str], told: str, tmp_path: Path) -> None:
    done = run(*command, *words, HERD_STATE=str(tmp_path))
    assert done.exit_code == 1
    assert told in " ".join(done.stderr.split())


@pytest.mark.parametrize("page", [None, [], {"models": []}, {"other": {}}, {"models": {"a": None}}, {"models": {"a": {"b": 1}}}])
def test_server_that_is_no_gateway_of_a_herd(gateway: Gateway, page: Any) -> None:
    gateway.status = page
    done = run("status", "--url", gateway.url)
    assert done.exit_code == 1
    assert gateway.url in done.stderr
    assert "Is the address right?" in " ".join(done.stderr.split())


def test_model_that_is_not_there(gateway: Gateway) -> None:
    done = run("why", "gpt-9", "--url", gateway.url)
    assert "No model has the id 'gpt-9' there. There are: scout." in " ".join(done.stderr.split())


def test_decision_of_autoscaling_is_told_by_http_too(gateway: Gateway) -> None:
    told = {"at_s": 1.0, "target": 3, "before": 2, "reason": "Two replicas are not enough.", "binds": "gpus"}
    gateway.status = PAGE | {"scaling": {"scout": told, "other": "of another shape"}}
    assert "Two replicas are not enough." in run("why", "scout", "--url", gateway.url).stdout
    (model,) = json.loads(run("status", "--json", "--url", gateway.url).stdout)["models"]
    assert (model["scaling"]["target"], model["scaling"]["limit"]) == (3, "gpus")


def test_server_that_answers_no_text_at_all(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_text(_: httpx.Response) -> Any:
        return json.loads(b"\xff\xfe\x00")

    monkeypatch.setattr(httpx.Response, "json", no_text)
    done = run("status", "--url", gateway.url)
    assert (done.exit_code, "does not answer as a gateway does" in " ".join(done.stderr.split())) == (1, True)
