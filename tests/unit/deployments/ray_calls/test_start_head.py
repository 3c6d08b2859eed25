"""A head's password for Redis: taken out of every process's arguments, and understood by the GCS that is installed."""

import socket
import subprocess
import sys
from pathlib import Path

import ray

from deployments.ray_calls.start_head import by_environment
from tests.unit.command_line import invoke

GCS = Path(ray.__file__).parent / "core/src/ray/gcs/gcs_server"


def test_password_goes_from_the_arguments_to_the_environment() -> None:
    command, variables = by_environment(["gcs_server", "--redis_address=a", "--redis_password=wo rd", "--redis_port=1"])
    assert command == ["gcs_server", "--redis_address=a", "--redis_port=1", "--fromenv=redis_password"]
    assert variables == {"FLAGS_redis_password": "wo rd"}


def test_process_without_a_password_stays_as_it_is() -> None:
    assert by_environment(["raylet", "--port=1"]) == (["raylet", "--port=1"], {})


def test_rays_gcs_takes_the_password_from_its_environment(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as redis:
        redis.settimeout(30)
        options = {
            "log_dir": tmp_path,
            "session-dir": tmp_path,
            "session-name": "x",
            "gcs_server_port": 0,
            "node-ip-address": "127.0.0.1",
            "node-id": "0" * 56,
            "redis_address": "127.0.0.1",
            "redis_port": redis.getsockname()[1],
            "redis_enable_ssl": "false",
            "redis_password": "wo rd",
        }
        command, variables = by_environment([str(GCS), *(f"--{name}={value}" for name, value in options.items())])
        with subprocess.Popen(command, env=variables, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            try:
                connection, _ = redis.accept()
                with connection:
                    assert b"AUTH\r\n$5\r\nwo rd" in connection.recv(1000)
            finally:
                process.kill()


def test_command_hands_its_options_on_to_ray_start() -> None:
    done = invoke(["cluster", "start-head", "--no-such-option"], stdin="")
    assert done.exit_code == 2
    assert "No such option" in done.stderr


def test_password_is_in_no_answer_of_the_command() -> None:
    """In a process of its own: it changes two of Ray's functions there."""
    program = "from deployments.__main__ import main; main()"
    command = [sys.executable, "-c", program, "cluster", "start-head", "--no-such-option"]
    done = subprocess.run(command, input="wo rd", capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 2
    assert "wo rd" not in done.stdout + done.stderr
