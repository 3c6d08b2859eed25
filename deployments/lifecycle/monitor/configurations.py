"""The configurations of Prometheus, Alertmanager and Grafana for one herd, made of the files in `monitoring`.

Decides what is filled into these files: addresses, files of keys, paths. Reads and writes nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from configs.certificates import Certificates

Plain = dict[str, Any]
TARGETS = "/-/targets"


@dataclass(frozen=True, slots=True)
class Surroundings:
    """The facts of a herd and of this machine that configurations need."""

    herd: str
    """Its name: the label `cluster`."""
    gateway: str
    """The address of a gateway, without a path."""
    key_file: Path
    """The key to the gateways' own pages; an empty file where they ask for none."""
    package: Path
    """The folder in which the folder `monitoring` is."""
    alertmanager: str = ""
    """`host:port`; empty where there is none."""
    grafana: str = ""
    """The address of Grafana; empty where there is none."""
    engine_tls: Certificates | None = None


def prometheus(example: Mapping[str, Any], around: Surroundings) -> Plain:
    """Returns Prometheus' configuration.

    Args:
        example: the document of `monitoring/prometheus.yml`. Jobs that ask gateways for targets get this herd's address and key; other jobs
            stay as they are.
        around: the herd and this machine.
    """
    outside = {"cluster": around.herd, "docs": str(around.package), "grafana": around.grafana}
    made = {
        **example,
        "global": {**example.get("global", {}), "external_labels": {name: value for name, value in outside.items() if value}},
        "rule_files": [str(around.package / "monitoring" / "alerts" / "*.yml")],
        "scrape_configs": [_job(job, around) for job in example["scrape_configs"]],
    }
    made.pop("alerting", None)
    if around.alertmanager:
        made["alerting"] = {"alertmanagers": [{"static_configs": [{"targets": [around.alertmanager]}]}]}
    return made


def _job(job: Mapping[str, Any], around: Surroundings) -> Plain:
    if "http_sd_configs" not in job:
        return dict(job)
    made = {**job, "http_sd_configs": [_discovery(one, around) for one in job["http_sd_configs"]]}
    if around.engine_tls is not None:
        # As gateways do it: names in certificates are not compared, and the authority signs for these machines only.
        made["tls_config"] = {
            "ca_file": str(around.engine_tls.authority),
            "cert_file": str(around.engine_tls.certificate),
            "key_file": str(around.engine_tls.key),
            "insecure_skip_verify": True,
        }
    return made


def _discovery(one: Mapping[str, Any], around: Surroundings) -> Plain:
    made = {**one, "url": around.gateway + TARGETS, "authorization": {"credentials_file": str(around.key_file)}}
    if urlsplit(around.gateway).scheme == "https":
        made["tls_config"] = {"insecure_skip_verify": True}  # it is asked at an address of this machine, which no certificate names
    return made


def alertmanager(example: Mapping[str, Any]) -> Plain:
    """Returns Alertmanager's configuration: the routes of `monitoring/alertmanager.yml`, and receivers that tell nobody.

    Alerts stand on Alertmanager's page all the same. A file of the operator's own names the people and the addresses.
    """
    return {**example, "receivers": [{"name": one["name"]} for one in example["receivers"]]}


def grafana(folder: Path, port: int, provisioning: Path) -> str:
    """Returns Grafana's configuration: on loopback, with its files in `folder`, readable without a password by users of this machine."""
    return "\n".join(
        (
            "[paths]",
            f"data = {folder / 'data'}",
            f"logs = {folder / 'logs'}",
            f"plugins = {folder / 'plugins'}",
            f"provisioning = {provisioning}",
            "[server]",
            "http_addr = 127.0.0.1",
            f"http_port = {port}",
            "[security]",
            f"admin_password = $__file{{{folder / 'admin-password'}}}",
            "[auth.anonymous]",
            "enabled = true",
            "org_role = Viewer",
            "[analytics]",
            "reporting_enabled = false",
            "check_for_updates = false",
            "check_for_plugin_updates = false",
            "",
        )
    )
