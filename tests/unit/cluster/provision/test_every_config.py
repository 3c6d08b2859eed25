"""Every shipped config with every provider: written, and taken by whoever reads it; or refused by the field, with the reason.

As it stands, and with machines of each provider laid over it. A new config is in it by itself.
"""

import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from cluster.catalogue.hardware import cluster_of
from cluster.planner.config_problems import problems
from cluster.planner.herd_fit import chosen, known_cluster
from configs.addresses import on_loopback
from configs.load import ConfigError, read
from configs.schema import Config
from deployments.commands.cluster_emit import STARTS_RAY, Provider, emitted
from deployments.lifecycle.applications import declared
from tests.unit.cluster.provision import judges
from tests.unit.cluster.provision.test_head_unit import lines_of, script_of
from tests.unit.machines import AWS, GCP, ROOT, built

CONFIGS = sorted(path.name for path in (ROOT / "configs").glob("*.yaml"))
RAY_UP = (Provider.ONPREM, Provider.AWS, Provider.GCP)
IMAGE, REDIS = "registry.example.com/llama-herd:0.1.0", "10.0.0.5:6379"
#: Where a cloud has machines with a kind of GPU. Google's with H100s are refused by their name, in `test_cloud_files`.
MACHINES = {"H100": {"aws": "p5.48xlarge"}, "H200": {"aws": "p5en.48xlarge", "gcp": "a3-ultragpu-8g"}}


@cache
def shipped(name: str) -> Config:
    return read(ROOT / "configs" / name, problems)


def site(provider: Provider) -> str:
    """The section of `cluster` that a provider reads."""
    return "onprem" if provider in (Provider.HAPROXY, Provider.SYSTEMD) else provider.value


def gpu_of(config: Config) -> str | None:
    return None if config.hardware is None else cluster_of(config.hardware).node.gpu.name


def machines(config: Config, provider: Provider) -> dict[str, Any]:
    """What an operator lays over a config for machines of a provider."""
    nodes = (config.hardware and config.hardware.nodes) or 1
    hosts = {"head": "10.0.0.11", "workers": [f"10.0.0.{11 + one}" for one in range(1, nodes)]}
    kind = MACHINES.get(gpu_of(config) or "", {}).get(provider)
    of_provider = {
        "onprem": hosts,
        "aws": AWS | {"workers": nodes} | ({} if kind is None else {"machine": kind}),
        "gcp": GCP | {"workers": nodes},
        "kuberay": {"workers": nodes},
    }
    return {"cluster": {"image": IMAGE, "redis": REDIS, site(provider): of_provider[site(provider)]}}


#: What a config of one machine lacks for several.
ON_A_CLUSTER = {"ray": {"address": "auto"}, "gateway": {"host": "0.0.0.0"}}


def missing(config: Config, provider: Provider) -> str | None:
    """The field whose lack refuses a config that stands as it is; none where nothing lacks."""
    if config.cluster is None:
        return "cluster"
    if provider is Provider.SYSTEMD and not config.cluster.outlives_its_head:
        return "cluster.redis"
    if provider is Provider.KUBERAY and config.cluster.wheel is not None:
        return "cluster.image"
    if getattr(config.cluster, site(provider)) is None:
        return f"cluster.{site(provider)}"
    return None


def judged(text: str, provider: Provider, folder: Path) -> None:
    """Whoever reads the file takes it."""
    if provider in RAY_UP:
        judges.ray_up(text)
    elif provider is Provider.KUBERAY:
        judges.ray_service(next(yaml.safe_load_all(text)))
    elif provider is Provider.HAPROXY:
        (folder / "haproxy.cfg").write_text(text)
        judges.haproxy(folder / "haproxy.cfg")
    else:
        assert [line for line in lines_of(text) if line.startswith("ExecStart=")]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that the command runs in, as `make wheel` leaves it."""
    monkeypatch.chdir(tmp_path)
    built(tmp_path)
    return tmp_path


def written(name: str, provider: Provider, over: dict[str, Any] | None = None) -> str:
    paths = [ROOT / "configs" / name]
    if over is not None:
        Path("machines.yaml").write_text(yaml.safe_dump(over))
        paths.append(Path("machines.yaml"))
    return emitted(paths, provider)


def refused(name: str, provider: Provider, over: dict[str, Any] | None = None) -> dict[str, str]:
    with pytest.raises(ConfigError) as error:
        written(name, provider, over)
    return {one.path: one.message for one in error.value.problems}


@pytest.mark.parametrize("provider", Provider)
@pytest.mark.parametrize("name", CONFIGS)
def test_shipped_config_is_taken_as_it_stands_or_refused_by_what_it_lacks(name: str, provider: Provider, here: Path) -> None:
    lacking = missing(shipped(name), provider)
    if lacking is None:
        text = written(name, provider)
        assert text.startswith(f"# Made by `herd cluster emit {name} --provider {provider}` of llama-herd ")
        judged(text, provider, here)
    else:
        assert refused(name, provider).keys() == {lacking}


@pytest.mark.parametrize("provider", Provider)
@pytest.mark.parametrize("name", CONFIGS)
def test_shipped_config_with_machines_of_a_provider_is_taken_or_refused_with_the_reason(name: str, provider: Provider, here: Path) -> None:
    config, over = shipped(name), machines(shipped(name), provider)
    if on_loopback(config.gateway.host):
        local = {"ray.address"} if provider in STARTS_RAY else set()
        alone = provider in (Provider.ONPREM, Provider.SYSTEMD) and not over["cluster"]["onprem"]["workers"]
        assert refused(name, provider, over).keys() == local | (set() if alone else {"gateway.host"})
        over |= ON_A_CLUSTER
    gpu, small = gpu_of(config), any(one.checkpoint.startswith("small:") for one in config.models)
    if small and provider is Provider.KUBERAY:
        said = refused(name, provider, over)
        assert said.keys() == {f"models[{number}].checkpoint" for number in range(len(config.models))}
        assert "pods start without it" in said["models[0].checkpoint"]
    elif gpu is not None and provider in ("aws", "gcp") and provider not in MACHINES[gpu]:
        said = refused(name, provider, over)
        assert any(f"cluster.{provider}.machine" in why and gpu in why for why in said.values()), said
    else:
        judged(written(name, provider, over), provider, here)


@pytest.mark.parametrize("name", CONFIGS)
def test_ray_serve_builds_what_herd_up_declares(name: str) -> None:
    """On this machine and on a cluster alike: there is no other file between a config and its engines."""
    config = chosen(shipped(name), known_cluster(shipped(name)))
    nodes = (config.hardware and config.hardware.nodes) or 1
    judges.serve(declared(config, nodes, {}).model_dump(mode="json", exclude_unset=True))


def every_script() -> Iterator[str]:
    """Of all files that can be written, each once."""
    for name in CONFIGS:
        for provider in STARTS_RAY:
            over = machines(shipped(name), provider) | ({} if not on_loopback(shipped(name).gateway.host) else ON_A_CLUSTER)
            for one in (None, over):
                try:
                    text = written(name, provider, one)
                except ConfigError:
                    continue
                yield from (script_of(text),) if provider is Provider.SYSTEMD else judges.scripts(text)


def numbered(folder: Path, scripts: Iterable[str]) -> list[Path]:
    """Writes each into a file; of those that differ in numbers only, one."""
    for number, script in enumerate({re.sub(r"\d+", "0", one): one for one in scripts}.values()):
        (folder / f"{number}.sh").write_text(f"#!/bin/bash\n{script}\n")
    return sorted(folder.glob("*.sh"))


def test_bash_and_shellcheck_read_every_script(here: Path) -> None:
    files = numbered(here, every_script())
    assert len(files) > len(STARTS_RAY), "they differ by what their nodes must have"
    for file in files:
        done = subprocess.run(["bash", "-n", file], capture_output=True, text=True, check=False)
        assert done.returncode == 0, (done.stderr, file.read_text())
    if shutil.which("shellcheck") is not None:  # Debian: apt-get install shellcheck
        judges.shellcheck(files)


def test_no_config_is_left_out() -> None:
    said = {name for name in CONFIGS if re.search(r"^models:", (ROOT / "configs" / name).read_text(encoding="utf-8"), re.MULTILINE)}
    assert said == set(CONFIGS), "a file that is no herd of its own belongs into configs/bases"
    assert {gpu_of(shipped(name)) for name in CONFIGS} - {None} <= MACHINES.keys(), "a new GPU: say where clouds have it"
