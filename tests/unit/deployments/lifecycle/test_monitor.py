"""Programs beside a herd: their configurations, and the care for processes that are not theirs."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from configs.certificates import Certificates
from configs.keys import derived
from configs.load import environment, parse
from deployments.lifecycle.known import Herd, OperationError
from deployments.lifecycle.monitor import beside, configurations, programs
from deployments.lifecycle.monitor.configurations import Surroundings
from deployments.lifecycle.monitor.programs import GRAFANA, PROMETHEUS, Program, Wanted, running, start, stop
from tests.bench.process import free_port

#: Programs outlive the command that starts them, which is what these tests want.
pytestmark = pytest.mark.filterwarnings("ignore:subprocess .* is still running:ResourceWarning")

PACKAGE = Path(__file__).parents[4]
EXAMPLE: dict[str, Any] = {
    "global": {"scrape_interval": "15s", "external_labels": {"cluster": "herd"}},
    "rule_files": ["alerts/*.yml"],
    "alerting": {"alertmanagers": []},
    "scrape_configs": [
        {"job_name": "herd", "http_sd_configs": [{"url": "http://127.0.0.1:8000/-/targets", "refresh_interval": "10s"}]},
        {"job_name": "mine", "static_configs": [{"targets": ["127.0.0.1:1"]}]},
    ],
}
AROUND = Surroundings("prod", "http://127.0.0.1:9000", Path("/state/prod/key"), PACKAGE)
ROOT = "0123456789abcdef" * 4
MODELS = "models: [{id: a, kind: llama-3-8b, checkpoint: x, context_tokens: 512}]\n"


def test_prometheus_asks_this_herds_gateway_with_its_key_and_keeps_other_jobs() -> None:
    made = configurations.prometheus(EXAMPLE, AROUND)
    herd, mine = made["scrape_configs"]
    assert herd["http_sd_configs"] == [
        {
            "url": "http://127.0.0.1:9000/-/targets",
            "refresh_interval": "10s",
            "authorization": {"credentials_file": "/state/prod/key"},
        }
    ]
    assert mine == EXAMPLE["scrape_configs"][1]
    assert made["global"] == {"scrape_interval": "15s", "external_labels": {"cluster": "prod", "docs": str(PACKAGE)}}
    assert made["rule_files"] == [f"{PACKAGE}/monitoring/alerts/*.yml"]
    assert "alerting" not in made
    assert EXAMPLE["global"]["external_labels"] == {"cluster": "herd"}, "the example stays as it is"


def test_prometheus_tells_alertmanager_and_links_to_grafana_where_they_are() -> None:
    made = configurations.prometheus(EXAMPLE, replace(AROUND, alertmanager="127.0.0.1:9093", grafana="http://127.0.0.1:3000"))
    assert made["alerting"] == {"alertmanagers": [{"static_configs": [{"targets": ["127.0.0.1:9093"]}]}]}
    assert made["global"]["external_labels"]["grafana"] == "http://127.0.0.1:3000"


def test_prometheus_speaks_tls_where_the_herd_does() -> None:
    files = Certificates.model_validate({"authority": "/ca", "certificate": "/node.pem", "key": "/node.key"})
    (herd, mine) = configurations.prometheus(EXAMPLE, replace(AROUND, gateway="https://127.0.0.1:9000", engine_tls=files))["scrape_configs"]
    assert herd["http_sd_configs"][0]["tls_config"] == {"insecure_skip_verify": True}
    assert herd["tls_config"] == {"ca_file": "/ca", "cert_file": "/node.pem", "key_file": "/node.key", "insecure_skip_verify": True}
    assert "tls_config" not in mine


def test_alertmanager_keeps_its_routes_and_tells_nobody() -> None:
    example = yaml.safe_load((PACKAGE / "monitoring" / "alertmanager.yml").read_text(encoding="utf-8"))
    made = configurations.alertmanager(example)
    assert made["receivers"] == [{"name": "pager"}, {"name": "chat"}]
    assert (made["route"], made["inhibit_rules"]) == (example["route"], example["inhibit_rules"])


def herd(folder: Path, text: str) -> Herd:
    return Herd(folder, parse(text + MODELS, "test"))


def test_key_is_the_herds_own_or_made_of_its_secret(tmp_path: Path) -> None:
    here = herd(tmp_path / "a", "")
    assert beside._key(here, environment({})) == here.node.key("pages")
    there = herd(tmp_path / "b", "ray: {address: auto}\n")
    assert beside._key(there, environment({"HERD_SECRET": ROOT})) == derived(ROOT, "pages")
    assert beside._key(there, environment({"HERD_PAGES_KEY": "made"})) == "made"


def test_key_that_cannot_be_had_matters_only_where_one_is_asked_for(tmp_path: Path) -> None:
    inventory = "cluster: {secret_command: 'exit 1'}\n"
    assert beside._key(herd(tmp_path, f"ray: {{address: auto}}\n{inventory}"), environment({})) == ""
    with pytest.raises(OperationError, match=r"ask for a key.*HERD_SECRET"):
        beside._key(herd(tmp_path, f"ray: {{address: auto}}\ngateway: {{host: 0.0.0.0}}\n{inventory}"), environment({}))


#: A program that serves a path, or does not, or ignores that it should end.
SERVER = """
import http.server, signal, sys
if "stubborn" in sys.argv:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
if "broken" in sys.argv:
    sys.exit("no such option: broken")
class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == "/-/ready" else 404)
        self.end_headers()
    def log_message(self, *words): pass
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Page).serve_forever()
"""
FAKE = Program("fake", ("fake",), "/-/ready", 1, "Get it.")


def wanted(port: int, *words: str, files: dict[Path, str] | None = None) -> Wanted:
    return Wanted((sys.executable, "-c", SERVER, str(port), *words), port, files or {})


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "monitor"
    stop(tmp_path / "monitor", FAKE)


def test_program_is_started_once_and_stopped(folder: Path) -> None:
    port = free_port()
    first = wanted(port, files={folder / "deep" / "config": "a"})
    assert start(folder, FAKE, first)
    kept = running(folder, FAKE)
    assert kept is not None
    assert not start(folder, FAKE, first), "it runs as it should"
    assert running(folder, FAKE) == kept
    assert (folder / "deep" / "config").stat().st_mode & 0o077 == 0
    assert stop(folder, FAKE)
    assert not psutil.pid_exists(kept.pid)
    assert not stop(folder, FAKE)


def test_program_whose_files_have_changed_is_started_anew(folder: Path) -> None:
    port = free_port()
    start(folder, FAKE, wanted(port, files={folder / "config": "a"}))
    before = running(folder, FAKE)
    assert start(folder, FAKE, wanted(port, files={folder / "config": "b"}))
    after = running(folder, FAKE)
    assert before is not None
    assert after is not None
    assert before.pid != after.pid
    assert (folder / "config").read_text(encoding="utf-8") == "b"


def test_port_of_another_program_is_left_to_it(folder: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        with pytest.raises(OperationError, match=r"Another program listens on port \d+.*--fake-port"):
            start(folder, FAKE, wanted(other.getsockname()[1]))
    assert running(folder, FAKE) is None


def test_program_that_ends_at_once_is_told_with_its_words(folder: Path) -> None:
    with pytest.raises(OperationError, match=r"fake ended at once: no such option: broken.*fake\.log"):
        start(folder, FAKE, wanted(free_port(), "broken"))
    assert running(folder, FAKE) is None


def test_program_that_never_serves_is_stopped_after_its_time(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs, "START_S", 0.5)
    with pytest.raises(OperationError, match="does not serve within"):
        start(folder, replace(FAKE, ready="/never"), wanted(free_port()))
    assert running(folder, FAKE) is None


def test_program_whose_starter_was_killed_is_waited_for(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = wanted(free_port())
    start(folder, FAKE, one)
    kept = running(folder, FAKE)
    monkeypatch.setattr(programs, "START_S", 0.5)
    with pytest.raises(OperationError, match="does not serve within"):
        start(folder, replace(FAKE, ready="/never"), one)
    assert running(folder, FAKE) == kept, "it is left as it is"


def test_program_whose_number_cannot_be_kept_does_not_go_on(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(programs, "write_closed", full)
    before = {one.pid for one in psutil.Process().children()}
    with pytest.raises(OSError, match="No space left"):
        start(folder, FAKE, wanted(free_port()))
    assert {one.pid for one in psutil.Process().children()} <= before


def test_two_commands_do_not_start_programs_at_once(folder: Path) -> None:
    with programs.alone(folder), pytest.raises(OperationError, match=r"Another `herd monitor` starts or stops these programs"):
        beside.down(folder, lambda _: None)
    assert beside.down(folder, lambda _: None) == []


def test_program_that_does_not_heed_its_end_is_killed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs, "STOP_S", 0.2)
    start(folder, FAKE, wanted(free_port(), "stubborn"))
    assert stop(folder, FAKE)
    assert running(folder, FAKE) is None


def test_process_that_has_got_the_number_of_one_that_ended_is_left_alone(folder: Path) -> None:
    folder.mkdir()
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as other:
        (folder / "fake.pid").write_text(f"{other.pid} {time.time() - 3600} 1 mark", encoding="utf-8")
        assert running(folder, FAKE) is None
        assert not stop(folder, FAKE)
        assert other.poll() is None
        os.kill(other.pid, signal.SIGKILL)


def test_file_of_a_process_that_makes_no_sense_is_of_none(folder: Path) -> None:
    folder.mkdir()
    (folder / "fake.pid").write_text("x", encoding="utf-8")
    assert running(folder, FAKE) is None


def executable(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    path.chmod(0o755)
    return path


def test_grafana_gets_our_dashboards_a_password_of_its_own_and_the_loopback_interface(tmp_path: Path) -> None:
    binary = executable(tmp_path / "grafana" / "bin" / "grafana", "")
    (tmp_path / "grafana" / "conf").mkdir()
    (tmp_path / "grafana" / "conf" / "defaults.ini").touch()
    asked = beside.Asked({"prometheus": 9091, "alertmanager": 9093, "grafana": 3001}, 30)
    made = beside._grafana(str(binary), asked, tmp_path / "state")
    assert made.command[:3] == ("env", "HERD_PROMETHEUS=http://127.0.0.1:9091", f"HERD_DASHBOARDS={PACKAGE}/monitoring/dashboards")
    assert made.command[3:] == (str(binary), "server", f"--homepath={tmp_path}/grafana", f"--config={tmp_path}/state/grafana.ini")
    ini, password = made.files.values()
    assert "http_addr = 127.0.0.1\nhttp_port = 3001" in ini
    assert f"provisioning = {PACKAGE}/monitoring/grafana/provisioning" in ini
    assert len(password) > 20
    assert password not in ini


def test_grafana_without_its_own_folder_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(beside, "HOMES", ())
    binary = executable(tmp_path / "bin" / "grafana-server", "")
    with pytest.raises(OperationError, match=r"conf/defaults\.ini is in none of"):
        beside._grafana(str(binary), beside.Asked({"prometheus": 1, "grafana": 2}, 30), tmp_path / "state")


def test_without_prometheus_nothing_starts_and_the_way_to_get_it_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert beside.missing() == list(programs.PROGRAMS)
    with pytest.raises(OperationError, match="apt-get install prometheus"):
        beside.up(herd(tmp_path, ""), beside.Asked({}, 30), environment({}), lambda _: None)


def test_two_programs_on_one_port_are_refused_before_one_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("prometheus", "alertmanager"):
        executable(tmp_path / name, "#!/bin/sh\nexit 1\n")
    monkeypatch.setenv("PATH", str(tmp_path))
    herd = Herd(tmp_path / "herd", parse(MODELS, "herd.yaml"))
    asked = beside.Asked({"prometheus": 9093, "alertmanager": 9093, "grafana": 9093}, 30)
    with pytest.raises(OperationError, match=r"^prometheus and alertmanager cannot both listen on port 9093: give one of them another\.$"):
        beside.up(herd, asked, environment({"HOME": str(tmp_path)}), lambda _: None)


def test_names_of_binaries_are_those_of_the_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    for name in ("prometheus-alertmanager", "grafana-server"):
        executable(tmp_path / name, "")
    assert [program.name for program in beside.missing()] == [PROMETHEUS.name]
    assert GRAFANA.binary == str(tmp_path / "grafana-server")
