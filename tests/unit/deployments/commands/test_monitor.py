"""`herd monitor` over files and answers that are not what it has written and asked for."""

import json
import os
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from tests.unit.command_line import invoke


def kept(state: Path) -> Path:
    """Writes down this very process as a Prometheus that runs beside the herd `here`."""
    file = state / "here" / "monitor" / "prometheus.pid"
    file.parent.mkdir(parents=True)
    file.write_text(f"{os.getpid()} {psutil.Process().create_time()} 9 mark", encoding="utf-8")
    return file


@pytest.mark.parametrize("page", [[], None, {"data": None}, {"data": {"activeTargets": None}}, {"data": {"activeTargets": [1]}}])
def test_prometheus_that_answers_something_else_is_shown_without_its_pages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, page: Any
) -> None:
    kept(tmp_path)
    monkeypatch.setattr(httpx, "get", lambda *_, **__: httpx.Response(200))
    monkeypatch.setattr(
        httpx.Client, "get", lambda _, path: httpx.Response(200, json=page, request=httpx.Request("GET", f"http://a{path}"))
    )
    done = invoke(["monitor", "status", "--json"], env={"HERD_STATE": str(tmp_path)})
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["programs"][0] | {"address": ""} == {"name": "prometheus", "state": "serves", "address": "", "note": ""}


@pytest.mark.parametrize("command", ["status", "down"])
def test_file_of_another_user_is_told(tmp_path: Path, command: str) -> None:
    file = kept(tmp_path)
    file.unlink()
    file.mkdir()  # root reads every file, and no folder as one
    done = invoke(["monitor", command], env={"HERD_STATE": str(tmp_path)})
    assert done.exit_code == 1
    assert "prometheus.pid" in done.stderr.replace("\n", "")


@pytest.mark.parametrize("text", ["", "1", "a b c d", "-1 0 9 m", "99999999999999999999 0 9 m", "OWN 0 9 m"])
def test_file_that_names_no_process_of_ours_is_left_aside(tmp_path: Path, text: str) -> None:
    kept(tmp_path).write_text(text.replace("OWN", str(os.getpid())), encoding="utf-8")
    done = invoke(["monitor", "down"], env={"HERD_STATE": str(tmp_path)})
    assert (done.exit_code, "None of its programs runs here." in done.stdout) == (0, True)
