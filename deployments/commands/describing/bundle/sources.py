"""Gathers the parts of a support bundle: of this machine, of a herd's config and plan, and of the herd while it runs."""

import dataclasses
import json
import os
import platform
import shutil
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import psutil

from configs.keys import PURPOSES, WeakSecret, derived
from configs.load import Environment, as_yaml
from deployments.commands.describing.bundle.archive import Part, Source
from deployments.commands.describing.bundle.logs import line_ends, log_ends
from deployments.commands.describing.bundle.redaction import secrets_in, without_commands
from deployments.commands.versions import installed, versions
from deployments.lifecycle.herd import Herd
from deployments.policy.request.pages import OPERATORS

#: Pages of a gateway; those below `/-/` ask for a key where it listens to others than this machine.
PAGES = {"/health": "health.json", "/v1/models": "models.json", "/-/status": "status.json", "/-/targets": "targets.json"}
PAGE_S = 10.0
#: Where Ray keeps its sessions, unless it is told another folder.
RAY_FOLDER = Path("/tmp/ray")


def secrets_of(herd: Herd | None, given: Environment) -> set[str]:
    """Returns all values that must not be in a bundle: of this process's environment, and the herd's keys as far as they are here."""
    roots = {given.secret.get_secret_value()} if given.secret else set()
    files = () if herd is None else (herd.folder / "secret", herd.folder / "ray-token")
    roots |= {path.read_text(encoding="utf-8").strip() for path in files if path.is_file()}
    return secrets_in(os.environ) | {one for root in roots for one in (root, *_keys(root))} - {""}


def _keys(root: str) -> Iterator[str]:
    for purpose in PURPOSES:
        try:
            yield derived(root, purpose)
        except WeakSecret:
            return


def of_this_machine() -> list[Source]:
    """Returns what needs no herd."""
    return [
        Source("versions", lambda: [_json("versions.json", "what is installed", {**versions(), "packages": installed()})]),
        Source("the machine", lambda: [_json("machine.json", "this machine", _machine())]),
    ]


def of_the_config(herd: Herd) -> list[Source]:
    """Returns what needs the herd's config only."""
    return [
        Source("the config", lambda: [Part("config.yaml", "the herd's config, without the commands that print secrets", _config(herd))]),
        Source("the plan", lambda: [_plan(herd)]),
        Source("what `ray start` said", lambda: _own_log(herd)),
    ]


def of_the_gateway(herd: Herd, connected: bool) -> list[Source]:
    """Returns the gateway's pages. Those that ask for a key are there only with a connection to the herd's Ray, or for a local herd."""
    allowed = connected or herd.config.ray.address == "local"
    pages = {path: name for path, name in PAGES.items() if allowed or not path.startswith(OPERATORS)}
    return [Source(f"the page {path}", partial(_page, herd, path, name)) for path, name in pages.items()]


def of_ray() -> list[Source]:
    """Returns what Ray tells of the herd. Needs a connection to it: without one, asking would start a Ray."""
    return [Source("Ray Serve's status", lambda: [_serve()])]


def of_the_nodes(herd: Herd) -> list[Source]:
    """Returns what the nodes tell. Needs a connection to the herd's Ray, as `of_ray`."""
    return [Source("the doctor's report", lambda: [_doctor(herd)])]


def of_all_logs(herd: Herd, most_bytes: int) -> list[Source]:
    """Returns the newest log lines of all nodes, as many bytes as are asked for. Needs a connection to the herd's Ray, as `of_ray`."""
    if herd.config.ray.address == "local":  # it has one node, this one, where all files can be read
        return of_the_logs(herd, most_bytes)
    return [Source("logs of all nodes", lambda: _cluster_lines(most_bytes))]


def of_the_logs(herd: Herd, most_bytes: int) -> list[Source]:
    """Returns the ends of this node's logs, as many bytes as are asked for."""
    logs = _logs_folder(herd)
    return [Source("logs of this node", lambda: log_ends(logs, "logs", most_bytes))]


def _json(path: str, about: str, value: object) -> Part:
    return Part(path, about, json.dumps(value, indent=1, default=str) + "\n")


def _machine() -> dict[str, Any]:
    memory, disk = psutil.virtual_memory(), shutil.disk_usage("/")
    return {
        "system": platform.platform(),
        "processor": platform.machine(),
        "cpus": os.cpu_count(),
        "load": os.getloadavg(),
        "memory_bytes": {"total": memory.total, "available": memory.available},
        "disk_bytes": {"total": disk.total, "free": disk.free},
        "shared_memory_bytes": shutil.disk_usage("/dev/shm")._asdict() if Path("/dev/shm").is_dir() else None,
    }


def _config(herd: Herd) -> str:
    return as_yaml(without_commands(herd.config.model_dump(mode="json", exclude_unset=True)))


def _plan(herd: Herd) -> Part:
    from cluster.planner.choice.herds import herd_in_words, herd_records
    from cluster.planner.choice.record import Asked
    from cluster.planner.herd_fit import known_cluster
    from cluster.planner.memory.engine import VLLM
    from cluster.planner.search import Wish
    from deployments.lifecycle.fit import checked

    hardware, asked = known_cluster(herd.config), Asked(Wish().load, None)
    found = checked(herd.config, hardware)[1]
    said = {"verdict": herd_in_words(herd.config.name, hardware, found, asked, VLLM), "models": herd_records(found, asked)}
    return _json("plan.json", "what `herd plan` says of the config", said | {"refusals": found.refusals, "shortages": found.shortages})


def _own_log(herd: Herd) -> Iterable[Part]:
    path = herd.node.log
    if herd.config.ray.address != "local" or not path.is_file():
        return []
    return [Part("ray-start.log", "what `ray start` said", path.read_text(encoding="utf-8", errors="replace"))]


def _page(herd: Herd, path: str, name: str) -> list[Part]:
    import httpx

    from deployments.lifecycle.operator_pages import authorization
    from deployments.lifecycle.own_certificate import trust

    headers = authorization(herd.config, herd.node) if path.startswith(OPERATORS) else {}
    answer = httpx.get(f"{herd.endpoint}{path}", headers=headers, timeout=PAGE_S, verify=trust(herd.config.gateway.tls))
    return [Part(f"gateway/{name}", f"the gateway's page {path}, status {answer.status_code}", answer.text)]


def _serve() -> Part:
    from ray import serve

    return _json("serve-status.json", "Ray Serve's status", dataclasses.asdict(serve.status()))


def _doctor(herd: Herd) -> Part:
    from cluster.doctor.report import wanted
    from deployments.commands.doctor_tables import as_json
    from deployments.doctor.examine import examine

    return _json("doctor.json", "what `herd doctor --no-pairs` finds", as_json(examine(wanted(herd.config), False, lambda _: None)))


def _cluster_lines(most_bytes: int) -> list[Part]:
    from deployments.records.cluster_logs import cluster_logs

    with cluster_logs() as readers:
        parts, silent = line_ends(readers.read, "logs", most_bytes)
    if silent:
        about = "nodes that did not answer when they were asked for their logs"
        parts.append(Part("logs/silent-nodes.txt", about, "\n".join(silent) + "\n"))
    return parts


def _logs_folder(herd: Herd) -> Path:
    above = herd.node.temp if herd.config.ray.address == "local" else RAY_FOLDER
    return above / "session_latest" / "logs"
