"""The page `/status` and the last hour at `/-/history`, over real sockets."""

import asyncio
import base64
import html
import json
import re
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest
from msgspec import structs

from deployments.policy.records import history, verdict
from deployments.policy.records.history import Minute, Now, Told, Totals
from deployments.policy.records.starts import LOAD, READY, Start
from deployments.policy.records.verdict import Verdict
from deployments.policy.request.pages import Pages
from deployments.policy.routing.types import ReplicaState
from tests.path.fake_engine import WAIT_S, FakeEngine, answers, streams
from tests.path.herd import LLAMA, SCOUT, Herd, herd_of, limits, until
from tests.path.wire import connected
from tests.wire_format import DONE, event

pytestmark = pytest.mark.asyncio(loop_scope="session")
EVIL = """<img src=x onerror=alert(1)>"'&</script>"""


def basic(password: str, user: str = "anybody") -> dict[str, str]:
    return {"authorization": f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"}


async def test_page_shows_every_model_and_loads_nothing_from_elsewhere(herd: Herd, engine: FakeEngine) -> None:
    answer = await herd.http.get("/status")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy
    assert not re.findall(r"(?:src|href)=[\"']?(?:https?:)?//", answer.text)
    assert not re.findall(r"<[^>]* (?:style|on[a-z]+)=", answer.text)
    assert re.findall(r"<h2[^>]*><span>(.*?)</span>", answer.text) == [LLAMA, SCOUT]
    assert f"127.0.0.1:{engine.port}" in answer.text
    assert "Built with Llama" in answer.text
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-frame-options"] == "DENY"
    head = await herd.http.head("/status")
    assert (head.status_code, head.content) == (200, b"")
    assert (await herd.http.post("/status", content=b"{}")).status_code == 405


async def test_page_asks_browsers_for_the_key_where_others_reach_the_gateway(engine: FakeEngine) -> None:
    async with herd_of([engine], limits(), shown=Pages("right")) as herd:
        for headers in ({}, basic("wrong"), {"authorization": "Bearer wrong"}, {"authorization": "Basic x"}, basic("", "right")):
            answer = await herd.http.get("/status", headers=headers)
            assert answer.status_code == 401
            assert answer.headers["www-authenticate"] == 'Basic realm="Llama Herd", charset="UTF-8"'
            assert "127.0.0.1" not in answer.text
            assert "herd secret pages" in answer.json()["error"]["message"]
        for headers in (basic("right"), basic("right", ""), {"authorization": "Bearer right"}):
            assert (await herd.http.get("/status", headers=headers)).status_code == 200
        for path in ("/-/status", "/-/targets", "/-/history"):
            answer = await herd.http.get(path, headers=basic("right"))
            assert (answer.status_code, answer.headers["www-authenticate"]) == (401, 'Bearer realm="Llama Herd"')
        assert (await herd.http.get("/-/history", headers={"authorization": "Bearer right"})).status_code == 200


@pytest.mark.parametrize("path", [b"/%73tatus", b"/Status", b"/status/", b"//status", b"/./status", b"/-/../status", b"/status;a"])
async def test_page_has_one_spelling(engine: FakeEngine, path: bytes) -> None:
    async with herd_of([engine], limits(), shown=Pages("right")) as herd, connected(herd.port) as client:
        await client.send(b"GET %b HTTP/1.1\r\nhost: herd\r\n\r\n" % path)
        status, _, body = await client.answer()
        assert status in (401, 404)
        assert b"replica-" not in body


async def test_page_of_another_site_or_by_a_foreign_name_is_not_shown(herd: Herd) -> None:
    for path in ("/status", "/-/history"):
        assert (await herd.http.get(path, headers={"host": f"evil.example:{herd.port}"})).status_code == 403
        assert (await herd.http.get(path, headers={"sec-fetch-site": "cross-site"})).status_code == 403
        assert (await herd.http.get(path, headers={"sec-fetch-site": "same-origin"})).status_code == 200


async def test_names_never_become_markup(herd: Herd, engine: FakeEngine) -> None:
    (view,) = herd.roster.replicas(LLAMA)
    odd = structs.replace(view, id=EVIL, canary=EVIL, about={"gpus": EVIL}, state=ReplicaState.SICK)
    herd.roster.update(LLAMA, [odd])
    now = time.time()
    herd.starts[LLAMA] = [Start(LLAMA, EVIL + "2", EVIL, "0.1.0", now, ((LOAD, now),))]
    text = (await herd.http.get("/status")).text
    assert EVIL not in text
    assert "<img" not in text
    assert text.count(html.escape(EVIL)) >= 4


async def test_last_hour_is_what_was_answered(engine: FakeEngine) -> None:
    engine.queue = [
        answers(200, {"object": "chat.completion", "usage": {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}}),
        streams([event(), event(), DONE]),
        *[answers(500, {"error": {"message": "broken"}})] * 8,
    ]
    async with herd_of([engine], limits(), minute_s=1.0) as herd:
        await herd.chat()
        await herd.chat(stream=True)
        await herd.chat()
        await herd.chat(model="none")

        async def rows() -> list[dict[str, Any]]:
            found: list[dict[str, Any]] = (await herd.http.get("/-/history")).json()["models"].get(LLAMA, [])
            return found

        found = await until_told(rows, 3)
        sums = {name: sum(row[name] for row in found) for name in ("requests", "failed", "prompt_tokens", "completion_tokens")}
        assert sums["requests"] == 3
        assert sums["failed"] == 1
        assert (sums["prompt_tokens"], sums["completion_tokens"]) == (5, 2)
        assert any(row["ttft_s"]["p50"] for row in found)
        assert {row["ready"] for row in found} == {1}


async def until_told(rows: Callable[[], Awaitable[list[dict[str, Any]]]], requests: int) -> list[dict[str, Any]]:
    async with asyncio.timeout(WAIT_S):
        while sum(row["requests"] for row in await rows()) < requests:  # noqa: ASYNC110 (a minute ends by the clock)
            await asyncio.sleep(0.1)
    return await rows()


async def test_last_hour_is_that_of_all_gateways(herd: Herd) -> None:
    at = int(time.time() // 60) - 1
    for count in (3, 4):
        herd.histories.append(history.written(Told({LLAMA: [Minute(at, Totals(requests=count), Now())]}, {LLAMA: 2})))
    said = (await herd.http.get("/-/history")).json()
    assert said["gateways"] == {"told": 3, "missing": False}
    assert [row["requests"] for row in said["models"][LLAMA]] == [7]
    assert said["models"][LLAMA][0]["at"] == at * 60
    text = (await herd.http.get("/status")).text
    assert "those of 3 gateways" in text
    assert "<dt>waiting</dt><dd>4</dd>" in text
    assert "Requests a minute" in text


async def test_gateway_of_another_release_is_told_as_missing(herd: Herd) -> None:
    herd.histories.append(b'{"another": "shape"}')
    assert (await herd.http.get("/-/history")).json()["gateways"] == {"told": 1, "missing": True}
    assert "Others could not be asked." in (await herd.http.get("/status")).text


async def test_starts_that_go_on_are_told_beside_earlier_ones(herd: Herd) -> None:
    now = time.time()
    before = Start(LLAMA, "old", "n1", "0.1.0", now - 500, ((LOAD, now - 500),), now - 400, READY)
    killed = Start(LLAMA, "killed", "n1", "0.1.0", now - 300, ((LOAD, now - 300),))
    herd.starts[LLAMA] = [before, killed, replace(killed, replica="new", node="n2", began=now - 41, phases=((LOAD, now - 41),))]
    said = (await herd.http.get("/-/status")).json()["starting"][LLAMA]
    assert [(one["replica"], one["phase"]) for one in said] == [("killed", "load"), ("new", "load")]
    assert said[1]["told"] == "loading weights, 41 s of about 100 s"
    assert "Replica new on n2: loading weights, 41 s of about 100 s." in (await herd.http.get("/status")).text


async def test_killed_start_is_left_out_where_the_cluster_counts_replicas(engine: FakeEngine) -> None:
    async def coming(_model: str) -> int:
        return 2

    now = time.time()
    begun = [Start(LLAMA, name, "n1", "0.1.0", now - 9, ((LOAD, now - 9),)) for name in ("killed", "new")]
    async with herd_of([engine], limits(), coming=coming) as herd:
        herd.starts[LLAMA] = begun
        assert [one["replica"] for one in (await herd.http.get("/-/status")).json()["starting"][LLAMA]] == ["new"]


async def test_page_is_shown_without_starts_while_the_cluster_does_not_tell_them(herd: Herd) -> None:
    herd.starts[LLAMA] = [None]  # type: ignore[list-item]  # whatever is wrong with them
    assert (await herd.http.get("/-/status")).json()["starting"] == {}
    assert (await herd.http.get("/status")).status_code == 200


async def test_decision_of_autoscaling_is_told_with_its_reason(engine: FakeEngine) -> None:
    async with herd_of([engine], limits()) as herd:
        herd.kept[verdict.key(LLAMA)] = verdict.written(Verdict(1.0, 4, 3, "The queue of 12 grows.", 3.2))
        herd.apply(models=[scaling(herd.config.models[0]), *herd.config.models[1:]])

        def known() -> bool:
            return herd.count("herd_scaling_replicas", model=LLAMA, figure="target") == 4

        await until(known)
        said = json.loads((await herd.http.get("/-/status")).content)["scaling"][LLAMA]
        assert (said["target"], said["reason"]) == (4, "The queue of 12 grows.")
        assert "Autoscaling: The queue of 12 grows." in (await herd.http.get("/status")).text


def scaling(model: Any) -> Any:
    return type(model).model_validate({**model.model_dump(exclude_unset=True), "scaling": {"min_replicas": 1, "max_replicas": 6}})


async def test_stopped_model_is_shown_as_stopped(herd: Herd) -> None:
    stopped = type(herd.config.models[1]).model_validate({**herd.config.models[1].model_dump(exclude_unset=True), "stopped": True})
    herd.apply(models=[herd.config.models[0], stopped])
    assert 'class="state stopped"' in (await herd.http.get("/status")).text
