"""`cluster.machine.local_node`: its files, and that it takes no other process for its own. Ray itself does not run."""

import os
import stat
import subprocess
import sys
import tempfile
import uuid
from pathlib import Path

import psutil
import pytest

from cluster.machine.local_node import MARK, LocalNode, NodeError, closed
from cluster.machine.ray_output import REDIS_TRIES
from configs.keys import SERVING, VARIABLES, derived


@pytest.fixture
def node(tmp_path: Path) -> LocalNode:
    return LocalNode(tmp_path / f"herd-{uuid.uuid4().hex}")


def write(node: LocalNode, pid: str) -> None:
    node.state.mkdir()
    (node.state / "pid").write_text(pid)
    (node.state / "address").write_text("127.0.0.1:1234\n")


def test_secret_is_made_once_and_is_for_this_user_alone(node: LocalNode) -> None:
    secret = node.secret()
    assert len(secret) >= 32
    assert node.secret() == LocalNode(node.state).secret() == secret
    assert stat.S_IMODE((node.state / "secret").stat().st_mode) == 0o600
    assert stat.S_IMODE(node.state.stat().st_mode) == 0o700


def test_herds_have_secrets_of_their_own(tmp_path: Path) -> None:
    assert LocalNode(tmp_path / "a").secret() != LocalNode(tmp_path / "b").secret()


def test_node_that_never_was_has_no_address_and_nothing_to_stop(node: LocalNode) -> None:
    assert node.address is None
    assert not node.stop()


def test_process_that_was_written_down_is_the_node(node: LocalNode) -> None:
    write(node, f"{os.getpid()} {psutil.Process().create_time()}")
    assert node.address == "127.0.0.1:1234"


def test_other_process_that_was_given_the_same_id_is_not_the_node(node: LocalNode) -> None:
    write(node, f"{os.getpid()} {psutil.Process().create_time() - 100}")
    assert node.address is None
    assert not node.stop()
    assert not (node.state / "pid").exists()


@pytest.mark.parametrize("pid", ["", "1", "x y", "999999999 1.0"])
def test_process_that_is_not_there_is_not_the_node(node: LocalNode, pid: str) -> None:
    write(node, pid)
    assert node.address is None


def test_dead_process_is_not_the_node(node: LocalNode) -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    created = psutil.Process(child.pid).create_time()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    write(node, f"{child.pid} {created}")
    assert psutil.Process(child.pid).status() == psutil.STATUS_ZOMBIE
    assert node.address is None
    child.wait()


def test_secret_outlives_the_node(node: LocalNode) -> None:
    secret = node.secret()
    node.stop()
    assert node.secret() == secret


def test_paths_of_rays_sockets_stay_short_for_the_longest_name() -> None:
    node = LocalNode(Path("/home/somebody/.local/state/llama-herd") / ("a" * 31))
    assert len(f"{node.temp}/session_2026-01-01_00-00-00_000000_1234567/sockets/plasma_store") < 108


def test_processes_of_a_herd_with_a_longer_name_are_not_strays(node: LocalNode) -> None:
    other = LocalNode(node.state.with_name(f"{node.state.name}-2"))
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], env={MARK: str(other.temp)}) as child:
        try:
            assert child.pid in {one.pid for one in other._strays()}
            assert child.pid not in {one.pid for one in node._strays()}
        finally:
            child.kill()


def test_processes_of_the_node_have_keys_and_never_the_secret(node: LocalNode, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HERD_SECRET", "another cluster's")
    given = node._environment()
    assert {given[VARIABLES[purpose]] for purpose in SERVING} == {derived(node.secret(), purpose) for purpose in SERVING}
    assert "HERD_SECRET" not in given
    assert not {node.secret(), node.ray_token()} & set(given.values())


@pytest.fixture
def temps(tmp_path: Path) -> Path:
    return tmp_path / "llama-herd-0"


@pytest.mark.parametrize("mode", [None, 0o755, 0o777, 0o700, 0o000])
def test_folder_of_rays_files_is_closed_however_it_was_before(temps: Path, mode: int | None) -> None:
    if mode is not None:
        temps.mkdir()
        temps.chmod(mode)
    closed(temps)
    assert stat.S_IMODE(temps.lstat().st_mode) & 0o077 == 0


def test_folder_that_leads_elsewhere_is_refused(temps: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    temps.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(NodeError, match="is a link, or belongs to another user"):
        closed(temps)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a folder to another user")
def test_folder_of_another_user_is_refused(temps: Path) -> None:
    temps.mkdir(mode=0o700)
    os.chown(temps, 65534, 65534)
    with pytest.raises(NodeError, match="is a link, or belongs to another user"):
        closed(temps)


def test_file_in_the_place_of_the_folder_is_refused(temps: Path) -> None:
    temps.write_text("")
    with pytest.raises(NodeError, match="is not a folder"):
        closed(temps)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
def test_other_users_neither_list_nor_write_what_is_below() -> None:
    """Ray itself opens its folders to everybody."""
    with tempfile.TemporaryDirectory(dir="/tmp") as above:
        os.chmod(above, 0o755)
        temps = Path(above) / "llama-herd"
        closed(temps)
        sockets = temps / "session" / "sockets"
        sockets.mkdir(parents=True)
        for folder in (sockets, sockets.parent):
            folder.chmod(0o777)
        for command in (f"ls {temps}", f"ls {sockets}", f"touch {sockets}/raylet", f"cat {sockets}/../x"):
            done = subprocess.run(
                ["sh", "-c", command], user=65534, group=65534, extra_groups=[], capture_output=True, text=True, check=False
            )
            assert done.returncode != 0, command
            assert "denied" in done.stderr


def test_node_closes_the_folder_above_rays_own(node: LocalNode, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    temps = tmp_path / "temps"
    temps.mkdir(mode=0o755)
    monkeypatch.setattr(LocalNode, "_temps", temps)
    monkeypatch.setattr(subprocess, "Popen", lambda *_, **__: None)
    node._spawn(1, 80)
    assert stat.S_IMODE(temps.stat().st_mode) == 0o700
    assert node.temp.parent == temps


def test_what_another_users_folder_leads_to_is_not_removed(node: LocalNode, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    temps, elsewhere = tmp_path / "temps", tmp_path / "elsewhere"
    monkeypatch.setattr(LocalNode, "_temps", temps)
    (elsewhere / node.temp.name).mkdir(parents=True)
    temps.symlink_to(elsewhere)
    with pytest.raises(NodeError):
        node.stop()
    assert (elsewhere / node.temp.name).exists()


def test_secret_that_somebody_wrote_and_that_can_be_guessed_is_told(node: LocalNode) -> None:
    node.secret()
    (node.state / "secret").write_text("changeme")
    with pytest.raises(NodeError, match=r"secret: HERD_SECRET has 8 characters.*openssl rand -hex 32"):
        node.key("door")


@pytest.mark.parametrize(("lines", "ends"), [(REDIS_TRIES, "is_killed"), (1, "has_ended")])
def test_start_that_waits_for_redis_is_ended_with_its_cause(node: LocalNode, lines: int, ends: str) -> None:
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as child:
        write(node, f"{child.pid} {psutil.Process(child.pid).create_time()}")
        node.log.write_text("RedisError: Could not establish connection to Redis 127.0.0.1:9 (context.err = 1).\n" * lines)
        if ends == "has_ended":
            child.kill()
            child.wait()
        with pytest.raises(NodeError, match=r"^Ray did not start: Redis at 127\.0\.0\.1:9 does not answer"):
            node._wait_until_up("127.0.0.1:9")
        assert not psutil.pid_exists(child.pid)


def test_start_that_takes_too_long_says_so(node: LocalNode, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cluster.machine.local_node.START_S", 0)
    node.state.mkdir()
    node.log.touch()
    with pytest.raises(NodeError, match=r"^Ray did not start within 0 s\. `herd down` clears it away"):
        node._wait_until_up("127.0.0.1:9")
