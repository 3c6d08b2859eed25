"""What a machine lacks for a herd of its own, told before anything is started."""

import os
from collections import namedtuple
from pathlib import Path

import pytest

from deployments.lifecycle.changing import preflight, this_machine
from deployments.lifecycle.changing.this_machine import no_room, unusable_files, why_no_checkpoint
from deployments.lifecycle.herd import Herd, OperationError
from tests.unit.samples import config, model

Usage = namedtuple("Usage", "free")


def test_room_that_is_there_is_not_told(tmp_path: Path) -> None:
    assert list(no_room((tmp_path / "not" / "yet",), 1)) == []


def test_disk_and_shared_memory_that_are_full_are_told_with_their_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: Usage(64 << 20))
    disk, shared = no_room((tmp_path,), 256)
    assert disk == f"The disk of {tmp_path} is full: 64 MiB are free, and Ray's logs and sockets go there. Make room on it."
    assert shared.startswith("Too little shared memory: 64 MiB are free in /dev/shm, and Ray's object store takes 256 MiB")
    monkeypatch.setattr(this_machine, "SHM", tmp_path / "none")
    assert len(list(no_room((tmp_path,), 256))) == 1, "a system without it has another way"


def test_checkpoint_that_is_not_there_or_is_none_is_told(tmp_path: Path) -> None:
    (tmp_path / "file.gguf").touch()
    (tmp_path / "whole").mkdir()
    (tmp_path / "whole" / "config.json").touch()
    assert "is not there. Correct `checkpoint`" in why_no_checkpoint(tmp_path / "nothing")
    assert "has no config.json" in why_no_checkpoint(tmp_path)
    assert why_no_checkpoint(tmp_path / "file.gguf") == why_no_checkpoint(tmp_path / "whole") == ""


def test_checkpoint_that_this_user_may_not_see_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> bool:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "exists", refuse)
    assert why_no_checkpoint(Path("/models/scout")).startswith("/models/scout may not be read by this user.")


def test_herd_of_this_machine_is_refused_with_all_that_it_lacks(tmp_path: Path) -> None:
    tls = {"certificate": "/no/cert.pem", "key": "/no/key.pem"}
    wanted = config(model(checkpoint="/no/such/folder"), gateway={"tls": tls})
    told = list(unusable_files(wanted))
    assert told[0].startswith("checkpoint of 'llama': /no/such/folder is not there.") or "/no/such/folder is not there" in told[0]
    assert "/no/cert.pem cannot be read" in told[1]
    with pytest.raises(OperationError, match="(?s)/no/such/folder.*/no/cert.pem"):
        preflight.preflight(Herd(tmp_path, wanted))
    preflight.preflight(Herd(tmp_path, wanted.model_copy(update={"ray": wanted.ray.model_copy(update={"address": "auto"})})))


def test_herd_that_runs_is_asked_for_no_room_and_no_port(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cluster.machine.local_node.LocalNode.address", f"127.0.0.1:{os.getpid()}")
    monkeypatch.setattr("shutil.disk_usage", lambda _: Usage(0))
    preflight.preflight(Herd(tmp_path, config(model())))
