"""Reading a node's log files: from the end, then what has come, and never without a bound."""

import os
import time
from pathlib import Path

import pytest

from deployments.policy.records.log_lines import GATEWAY, MARK, MODEL, RAY, Query
from deployments.records import node_logs
from deployments.records.node_logs import NodeLogs

ENGINE = ":job_id:01\n:actor_name:ServeReplica:model.scout:engine\n"
SCOUT = Query(MODEL, "scout")


def at(second: int) -> str:
    return f"2026-11-28T17:{second // 60:02d}:{second % 60:02d}.000Z"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "serve").mkdir()
    return tmp_path


def worker(folder: Path, pid: int, text: str) -> Path:
    path = folder / f"worker-abc-01-{pid}.err"
    path.write_text(text, encoding="utf-8")
    return path


def texts(logs: NodeLogs, query: Query = SCOUT) -> list[str]:
    return [line.text for line in logs.read(query)]


def test_lines_of_a_replica_come_from_its_files_and_those_of_its_workers_in_order(folder: Path) -> None:
    (folder / "serve" / "replica_model.scout_engine_r1.log").write_text(f"INFO {at(2)} model.scout_engine r1 -- b\n")
    worker(folder, 1, f"{ENGINE}{MARK.format(replica='r1', model='scout')}\nINFO {at(1)} vllm: a\n")
    worker(folder, 2, f":actor_name:RayWorkerWrapper\n{MARK.format(replica='r1', model='scout')}\nINFO {at(3)} vllm: c\n")
    worker(folder, 3, f":actor_name:Other\nINFO {at(1)} x\n")
    worker(folder, 4, f"{ENGINE.replace('scout', 'other')}INFO {at(1)} other\n")
    found = [line for line in NodeLogs(folder, "n1").read(SCOUT) if "herd:" not in line.text]
    assert [line.text[-1] for line in found] == ["a", "b", "c"]
    assert {(line.node, line.model, line.replica) for line in found} == {("n1", "scout", "r1")}


def test_gateways_and_rays_own_files_are_asked_for_by_their_names(folder: Path) -> None:
    (folder / "serve" / "replica_gateway_gateway_g1.log").write_text(f"INFO {at(1)} gateway_gateway g1 -- a\n")
    (folder / "raylet.out").write_text(f"[{at(1)} I 1 2] (raylet) b\n")
    (folder / "raylet.err").write_text("")
    assert [text[-1] for text in texts(NodeLogs(folder), Query(GATEWAY))] == ["a"]
    assert [text[-1] for text in texts(NodeLogs(folder), Query(RAY))] == ["b"]


def test_replica_time_and_pattern_choose_lines(folder: Path) -> None:
    now = time.time()
    for replica in ("r1", "s1"):
        (folder / "serve" / f"replica_model.scout_engine_{replica}.log").write_text(
            f"INFO {at(1)} {replica} one\nINFO {at(9)} {replica} two\n"
        )
    assert len(texts(NodeLogs(folder))) == 4
    assert texts(NodeLogs(folder), Query(MODEL, "scout", "r")) == [f"INFO {at(1)} r1 one", f"INFO {at(9)} r1 two"]
    assert len(texts(NodeLogs(folder), Query(MODEL, "scout", grep="tw[o]"))) == 2
    assert texts(NodeLogs(folder), Query(MODEL, "scout", since=now)) == [], "the lines say that they are older than the file"
    assert len(texts(NodeLogs(folder), Query(MODEL, "scout", lines=1))) == 2, "of each file"


def test_newest_lines_are_read_from_the_end_in_blocks(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(node_logs, "BLOCK", 64)
    lines = [f"INFO {at(number)} {'x' * (number % 50)} {number}" for number in range(300)]
    (folder / "serve" / "replica_model.scout_engine_r1.log").write_text("\n".join(lines) + "\n")
    assert texts(NodeLogs(folder)) == lines
    assert texts(NodeLogs(folder), Query(MODEL, "scout", lines=7)) == lines[-7:]
    found = NodeLogs(folder).read(Query(MODEL, "scout", grep=" 1?5$"))
    assert [line.text.split()[-1] for line in found] == ["5", "15"]
    since = NodeLogs(folder).read(Query(MODEL, "scout", lines=20))[0].when
    assert texts(NodeLogs(folder), Query(MODEL, "scout", since=since)) == lines[-20:]


def test_line_that_is_longer_than_a_block_is_whole(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(node_logs, "BLOCK", 32)
    long = f"INFO {at(1)} {'y' * 500}"
    (folder / "serve" / "replica_model.scout_engine_r1.log").write_text(f"INFO {at(0)} a\n{long}\n")
    assert texts(NodeLogs(folder)) == [f"INFO {at(0)} a", long]


def test_later_reads_give_what_has_come_since(folder: Path) -> None:
    path = worker(folder, 1, f"{ENGINE}INFO {at(1)} vllm: old\n")
    logs = NodeLogs(folder)
    assert [text[-3:] for text in texts(logs)] == ["old"]
    with path.open("a") as file:
        file.write(f"INFO {at(2)} vllm: new\nINFO {at(3)} vllm: ha")
    assert [text[-3:] for text in texts(logs)] == ["new"]
    with path.open("a") as file:
        file.write("lf\n")
    assert [text[-4:] for text in texts(logs)] == ["half"], "a line is shown when it is whole"
    worker(folder, 2, f"{ENGINE}INFO {at(4)} vllm: other\n")
    assert [text[-5:] for text in texts(logs)] == ["other"], "a replica that has started meanwhile"
    assert texts(logs) == []


def test_file_that_is_turned_over_or_emptied_is_read_on(folder: Path) -> None:
    path = folder / "serve" / "replica_model.scout_engine_r1.log"
    path.write_text(f"INFO {at(1)} a\n")
    logs = NodeLogs(folder)
    assert len(texts(logs)) == 1
    path.rename(path.with_name(f"{path.name}.1"))
    path.write_text(f"INFO {at(2)} b\n")
    assert texts(logs) == [f"INFO {at(2)} b"]
    os.truncate(path, 0)
    assert texts(logs) == []
    path.write_text(f"INFO {at(3)} c\n")
    assert texts(logs) == [f"INFO {at(3)} c"]


def test_much_that_has_come_is_read_in_parts(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(node_logs, "MOST_NEW_BYTES", 100)
    path = folder / "serve" / "replica_model.scout_engine_r1.log"
    path.write_text(f"INFO {at(0)} first\n")
    logs = NodeLogs(folder)
    texts(logs)
    with path.open("a") as file:
        file.writelines(f"INFO {at(number)} {number}\n" for number in range(1, 9))
        file.write("z" * 250 + "\n")
    found = [text for _ in range(8) for text in texts(logs)]
    assert [text.split()[-1] for text in found[:8]] == [str(number) for number in range(1, 9)]
    assert "".join(found[8:]) == "z" * 250, "one line without an end in sight comes in pieces"


def test_folder_that_is_not_there_has_no_lines(tmp_path: Path) -> None:
    assert texts(NodeLogs(tmp_path / "none")) == []
