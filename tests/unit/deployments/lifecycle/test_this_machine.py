"""What a machine lacks for a herd of its own, told before anything is started."""

import os
from collections import namedtuple
from pathlib import Path

import pytest

from deployments.lifecycle.changing import preflight, this_machine
from deployments.lifecycle.changing.this_machine import no_room, unusable_files
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


def test_herd_of_this_machine_is_refused_with_all_that_it_lacks(tmp_path: Path) -> None:
    tls = {"certificate": "/no/cert.pem", "key": "/no/key.pem"}
    wanted = config(model(checkpoint="/no/such/folder"), gateway={"tls": tls})
    told = list(unusable_files(wanted))
    assert told[0].startswith("checkpoint of 'llama': /no/such/folder is not there.")
    assert "/no/cert.pem cannot be read" in told[1]
    with pytest.raises(OperationError, match=r"(?s)/no/such/folder.*/no/cert\.pem"):
        preflight.preflight(Herd(tmp_path, wanted))
    preflight.preflight(Herd(tmp_path, wanted.model_copy(update={"ray": wanted.ray.model_copy(update={"address": "auto"})})))


def test_herd_that_runs_is_asked_for_no_room_and_no_port(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cluster.machine.local_node.LocalNode.address", f"127.0.0.1:{os.getpid()}")
    monkeypatch.setattr("shutil.disk_usage", lambda _: Usage(0))
    preflight.preflight(Herd(tmp_path, config(model())))
