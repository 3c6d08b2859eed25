"""`herd monitor` with a real Prometheus and a real Alertmanager beside a gateway."""

import asyncio
import json
import shutil
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import pytest_asyncio

from configs.schema import Config, Gateway
from tests.bench.process import free_port
from tests.path.fake_engine import FakeEngine
from tests.path.herd import MODELS, Herd, herd_of, limits
from tests.path.prometheus import NEEDED
from tests.tools.documents import ROOT

NEEDS_ALERTMANAGER = pytest.mark.skipif(
    not any(map(shutil.which, ("alertmanager", "prometheus-alertmanager"))),
    reason="Alertmanager is not installed (Debian: apt-get install prometheus-alertmanager)",
)
pytestmark = [pytest.mark.asyncio(loop_scope="session"), NEEDED, NEEDS_ALERTMANAGER]

Run = Callable[..., Awaitable[tuple[int, str]]]


@dataclass(frozen=True, slots=True)
class Machine:
    """An operator's machine, beside a gateway."""

    herd: Herd
    state: Path
    run: Run
    ports: tuple[str, ...]

    async def programs(self) -> dict[str, dict[str, Any]]:
        """What `herd monitor status` says, by program."""
        _, said = await self.run("status", "--json")
        return {row["name"]: row for row in json.loads(said)["programs"]}

    def pid(self, program: str) -> int:
        return int((self.state / "here" / "monitor" / f"{program}.pid").read_text(encoding="utf-8").split()[0])


@pytest_asyncio.fixture(loop_scope="session")
async def machine(engine: FakeEngine, tmp_path: Path) -> AsyncIterator[Machine]:
    async def run(*words: str) -> tuple[int, str]:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "deployments", "monitor", *words),
            cwd=ROOT,
            env={"HERD_STATE": str(tmp_path), "HOME": str(tmp_path), "PATH": "/usr/local/bin:/usr/bin:/bin", "COLUMNS": "200"},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        said, _ = await asyncio.wait_for(process.communicate(), 120)
        return process.returncode or 0, said.decode()

    async with herd_of([engine], limits()) as herd:
        herd.gateways.append({"host": "127.0.0.1", "port": herd.metrics_port, "node": "n1"})
        config = Config(name="here", gateway=Gateway(port=herd.port), models=MODELS)
        (tmp_path / "here").mkdir()
        (tmp_path / "here" / "config.json").write_text(config.model_dump_json(), encoding="utf-8")
        ports = ("--prometheus-port", str(free_port()), "--alertmanager-port", str(free_port()))
        try:
            yield Machine(herd, tmp_path, run, ports)
        finally:
            if any((tmp_path / "here" / "monitor").glob("*.pid")):
                await run("down")


async def test_one_command_watches_a_herd_and_another_one_stops_it(machine: Machine) -> None:
    code, said = await machine.run("up", *machine.ports)
    assert code == 0, said
    programs = await machine.programs()
    assert [programs[name]["state"] for name in ("prometheus", "alertmanager")] == ["serves", "serves"]
    address, pids = programs["prometheus"]["address"], [machine.pid(name) for name in ("prometheus", "alertmanager")]

    async with httpx.AsyncClient(base_url=address, timeout=10, trust_env=False) as http:

        async def asked(path: str) -> Any:
            return (await http.get(path)).raise_for_status().json()["data"]

        rules = {rule["name"] for group in (await asked("/api/v1/rules?type=alert"))["groups"] for rule in group["rules"]}
        assert {"HerdErrorBudget", "HerdEngineStuck", "HerdGpuXid", "HerdScalingBound"} <= rules
        async with asyncio.timeout(60):
            while not (await asked("/api/v1/query?query=up{job='gateway'}==1"))["result"]:  # noqa: ASYNC110 (Prometheus is asked)
                await asyncio.sleep(0.2)
            while not (await asked("/api/v1/alertmanagers"))["activeAlertmanagers"]:  # noqa: ASYNC110 (as before)
                await asyncio.sleep(0.2)
    note = (await machine.programs())["prometheus"]["note"]
    assert "1 of 2 pages are read" in note, "the engine is made of bare sockets, and shows none"

    for pid in pids:
        listens = {one.laddr.ip for one in psutil.Process(pid).net_connections() if one.status == psutil.CONN_LISTEN}
        assert listens == {"127.0.0.1"}
    for file in (machine.state / "here" / "monitor").iterdir():
        assert file.stat().st_mode & 0o077 == 0 or file.suffix == ".log" or file.is_dir(), file

    code, said = await machine.run("up", *machine.ports)
    assert code == 0, said
    assert [machine.pid(name) for name in ("prometheus", "alertmanager")] == pids, "a second time changes nothing"

    (machine.state / "here" / "config.json").unlink()  # the herd is down, and its programs are found all the same
    code, said = await machine.run("down")
    assert (code, "Stopped: alertmanager, prometheus." in said) == (0, True), said
    assert not any(psutil.pid_exists(pid) for pid in pids)
    assert (machine.state / "here" / "monitor" / "prometheus").is_dir(), "what it has read stays"
    assert "None of its programs runs here." in (await machine.run("down"))[1]


async def test_port_that_is_taken_is_told_and_nothing_is_left(machine: Machine) -> None:
    ports = list(machine.ports)
    ports[1] = str(machine.herd.port)
    code, said = await machine.run("up", *ports)
    assert code == 1
    assert f"Another program listens on port {machine.herd.port}, where prometheus should" in " ".join(said.split())
    assert (await machine.programs())["prometheus"]["state"] == "not running"
    assert (await machine.run("down"))[0] == 0
    assert (await machine.herd.http.get("/v1/models")).status_code == 200


async def test_own_file_for_alertmanager_is_used_and_a_broken_one_is_told(machine: Machine) -> None:
    own = machine.state / "own.yml"
    own.write_text("route: {receiver: mine}\nreceivers: [{name: mine}]\n", encoding="utf-8")
    code, said = await machine.run("up", *machine.ports, "--alertmanager-config", str(own))
    assert code == 0, said
    address = (await machine.programs())["alertmanager"]["address"]
    async with httpx.AsyncClient(base_url=address, timeout=10, trust_env=False) as http:
        assert [one["name"] for one in (await http.get("/api/v2/receivers")).json()] == ["mine"]
    own.write_text("route: {receiver: nobody}\nreceivers: [{name: mine}]\n", encoding="utf-8")
    code, said = await machine.run("up", *machine.ports, "--alertmanager-config", str(own))
    assert code == 1
    assert "alertmanager ended at once" in said
    assert "nobody" in said
