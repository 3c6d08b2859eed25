"""The page `/status` in Chromium: nothing is refused or loaded from elsewhere, on a phone, in the dark, by keyboard and without scripts.

`HERD_PICTURES=folder` keeps the pictures.
"""

import base64
import math
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from msgspec.structs import replace

from deployments.policy.records import history, verdict
from deployments.policy.records.history import Minute, Now, Told, Totals
from deployments.policy.records.starts import GATE, LOAD, READY, Start
from deployments.policy.records.verdict import Verdict
from deployments.policy.request.pages import Pages
from deployments.policy.routing.types import ReplicaState, ReplicaView
from monitoring.metrics import ITL, TTFT
from tests.path.browser import CHROMIUM, WHY_NOT, Tab, tab
from tests.path.herd import LLAMA, SCOUT, Herd, herd_of, limits, until

pytestmark = [
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.skipif(CHROMIUM is None, reason=WHY_NOT),
]
EVIL = """<img src=x onerror=alert(1)>"'&</script><b>"""
#: Longest wait until the page has asked again, which it does every 10 s, on a busy machine.
AGAIN_S = 60.0


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Tab]:
    async with tab(tmp_path_factory.mktemp("chromium")) as one:
        yield one


@pytest_asyncio.fixture(loop_scope="session")
async def busy() -> AsyncIterator[Herd]:
    """A gateway with replicas of every kind, and an hour behind it."""
    async with herd_of([], limits()) as herd:
        fill(herd)
        await until(lambda: herd.count("herd_scaling_replicas", model=SCOUT, figure="target") == 5)
        yield herd


def fill(herd: Herd) -> None:
    """Tells the gateway a herd with a story."""
    first, second = herd.config.models
    scaled = type(second).model_validate({**second.model_dump(exclude_unset=True), "scaling": {"min_replicas": 1, "max_replicas": 6}})
    reason = "From 4 to 5: 61 requests wait, which needs 4.6 replicas when a start that begins now is over."
    herd.kept[verdict.key(SCOUT)] = verdict.written(Verdict(time.time(), 5, 4, reason, 4.2, 4.5, 4.6))
    herd.apply(models=[first, scaled])
    herd.roster.update(LLAMA, [replica(LLAMA, number, 3 + number) for number in range(2)])
    sick = replace(replica(SCOUT, 3, 0), state=ReplicaState.SICK, canary="wrong", ready_s=math.inf)
    herd.roster.update(SCOUT, [*(replica(SCOUT, number, 20 + number, 4) for number in range(3)), sick])
    now = time.time()
    before = Start(SCOUT, "s0", "10.0.0.12", "0.1.0", now - 9000, ((LOAD, now - 9000), (GATE, now - 8905)), now - 8890, READY)
    herd.starts[SCOUT] = [before, Start(SCOUT, "scout-engine#x7k2", "10.0.0.14", "0.1.0", now - 60, ((LOAD, now - 41),))]
    at = int(now // 60) - 1
    minutes = {LLAMA: hour(at, 18.0, 0.0), SCOUT: hour(at, 60.0, 2.1)}
    herd.histories.append(history.written(Told(minutes, {SCOUT: 61})))


def replica(model: str, number: int, ongoing: int, waiting: int = 0) -> ReplicaView:
    name = f"{model.replace('/', '-')}-engine#{number}f3a"
    return ReplicaView(name, model, f"10.0.0.{11 + number}", 41233, ReplicaState.READY, ongoing, waiting, ready_s=7300.0, about={"gpus": 8})


def hour(at: int, most: float, failed: float) -> list[Minute]:
    """Minutes in waves, with a hole in them."""
    found = []
    for index in range(60):
        wave = 0.6 + 0.4 * math.sin(index / 7)
        requests = round(most * wave)
        slow = tuple(round(requests * math.exp(-((place - 6 - 2 * wave) ** 2))) for place in range(len(TTFT.buckets) + 1))
        steps = tuple(round(90 * requests * math.exp(-((place - 6 - wave) ** 2))) for place in range(len(ITL.buckets) + 1))
        bad = round(failed * max(0.0, math.sin(index / 3)))
        if not 20 <= index < 23:
            found.append(Minute(at - 59 + index, Totals(requests, bad, requests * 900, requests * 240, slow, steps), Now(0, 9, 3)))
    return found


def keep(name: str, picture: bytes) -> None:
    """Keeps a picture for whoever wants to see it."""
    assert picture.startswith(b"\x89PNG")
    if folder := os.environ.get("HERD_PICTURES"):
        (Path(folder) / f"{name}.png").write_bytes(picture)


@pytest.mark.parametrize(
    ("name", "width", "dark"), [("desk", 1000, False), ("desk-dark", 1000, True), ("phone", 375, False), ("phone-dark", 375, True)]
)
async def test_page_fits_and_complains_of_nothing(browser: Tab, busy: Herd, name: str, width: int, dark: bool) -> None:
    browser.complaints.clear()
    browser.requested.clear()
    await browser.looks(width, 1150 if width == 375 else 1000, dark, phone=width == 375)
    await browser.open(f"{busy.url}/status")
    assert browser.complaints == []
    assert {url for url in browser.requested if not url.startswith("data:")} == {f"{busy.url}/status"}
    assert await browser.run("document.documentElement.scrollWidth") <= width
    red, green, blue = await browser.run("getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number).slice(0, 3)")
    assert (red + green + blue < 200) is dark
    assert await browser.run("document.querySelectorAll('svg').length") == 8
    assert await browser.run("[...document.querySelectorAll('svg')].every(one => one.getAttribute('aria-label').length > 20)")
    keep(name, await browser.picture())


async def test_page_is_used_by_keyboard_in_the_order_in_which_it_is_read(browser: Tab, busy: Herd) -> None:
    await browser.looks(1000, 900)
    await browser.open(f"{busy.url}/status")
    seen = []
    for _ in range(6):
        await browser.press("Tab")
        seen.append(await browser.run("(e => (e.tagName + ' ' + (e.className || e.id)).trim())(document.activeElement)"))
        assert await browser.run("getComputedStyle(document.activeElement).outlineStyle") != "none"
    # The replicas of the first model are all well, so that its table is closed; the second one's is open.
    assert seen == ["A skip", "SUMMARY", "SUMMARY", "DIV wide", "A", "INPUT live"]
    await browser.open(f"{busy.url}/status")
    await browser.press("Tab")
    await browser.press("Enter")
    assert await browser.run("document.activeElement.id") == "models"
    await browser.press("Tab")
    await browser.press("Enter")
    assert await browser.run("document.getElementById('replicas-0').open")


async def test_page_asks_again_and_keeps_what_its_reader_has_opened(browser: Tab, busy: Herd) -> None:
    browser.complaints.clear()
    await browser.looks(1000, 900)
    await browser.open(f"{busy.url}/status")
    await browser.run("document.querySelector('summary').focus(); document.getElementById('replicas-0').open = true")
    busy.roster.update(LLAMA, [replica(LLAMA, number, 3) for number in range(5)])
    took = f"new Promise((done, fail) => {{ const end = Date.now() + {AGAIN_S * 1000}; (function look() {{"
    took += "if (document.querySelector('summary').textContent === '5 replicas') done(true);"
    took += "else if (Date.now() > end) fail('it did not ask again'); else setTimeout(look, 100); })(); })"
    assert await browser.run(took)
    assert await browser.run("document.getElementById('replicas-0').open")
    assert await browser.run("document.activeElement.tagName") == "SUMMARY"
    assert browser.complaints == []


async def test_page_without_scripts_shows_the_state_of_now(browser: Tab, busy: Herd) -> None:
    await browser.do("Emulation.setScriptExecutionDisabled", value=True)
    try:
        await browser.open(f"{busy.url}/status")
        document = await browser.do("DOM.getDocument", depth=1)
        found = await browser.do("DOM.getOuterHTML", nodeId=document["root"]["nodeId"])
    finally:
        await browser.do("Emulation.setScriptExecutionDisabled", value=False)
    assert found["outerHTML"].count("<section") == 2
    assert 'hidden="hidden"' in found["outerHTML"]  # nothing promises to ask again
    assert "Show the newest" in found["outerHTML"]


async def test_name_of_a_replica_is_text_and_runs_nothing(browser: Tab, busy: Herd) -> None:
    browser.complaints.clear()
    busy.roster.update(LLAMA, [replace(replica(LLAMA, 0, 1), id=EVIL, canary=EVIL, about={"gpus": EVIL})])
    await browser.open(f"{busy.url}/status")
    assert await browser.run("document.querySelectorAll('img, section b:not(figcaption b)').length") == 0
    assert await browser.run("document.querySelector('tbody th').textContent") == EVIL
    assert browser.complaints == []


async def test_browser_opens_the_page_with_the_key_as_password(browser: Tab) -> None:
    async with herd_of([], limits(), shown=Pages("right")) as herd:
        address = f"{herd.url}/status"
        await browser.open(address)
        assert await browser.run("document.querySelectorAll('section').length") == 0
        told = base64.b64encode(b"operator:right").decode()
        await browser.do("Network.setExtraHTTPHeaders", headers={"authorization": f"Basic {told}"})
        try:
            await browser.open(address)
        finally:
            await browser.do("Network.setExtraHTTPHeaders", headers={})
        assert await browser.run("document.querySelectorAll('section').length") == 2
