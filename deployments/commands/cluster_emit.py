"""`herd cluster …`: the words of the command line. `emit` is for operators; the other two are for the scripts that it writes.

Decides which fields of the config a provider needs, and names each field that is missing. `cluster` makes the files.
"""

import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from enum import StrEnum
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from cluster.doctor.facts import expected
from cluster.doctor.report import SMALL
from cluster.machine.network import NoInterface, of_any, towards
from cluster.planner.herd_fit import known_cluster
from cluster.provision.aws import aws
from cluster.provision.gcp import gcp
from cluster.provision.haproxy import load_balancer
from cluster.provision.kuberay import Served, pod_monitor, ray_service
from cluster.provision.package import missing_files, without_package
from cluster.provision.ray_up import onprem
from cluster.provision.systemd import head_unit
from cluster.scaling.config_problems import problems
from configs.addresses import is_one_machines, on_loopback
from configs.given_files import CannotWrite, write
from configs.inventory import Inventory
from configs.kubernetes import KubeRay
from configs.load import ConfigError, Problem, as_lines, loaded
from configs.schema import Config
from deployments.commands.terminal import FAILED, More, Sets, files, tell, told
from deployments.lifecycle.fit import CannotPlan, checked

commands = typer.Typer(no_args_is_help=True, help="Write files that bring the machines of a Ray cluster up.")
Part = TypeVar("Part")
BUILT = "is built by `herd up`, and pods start without it: name a repository, or a folder of cluster.mounts that has it"
BEYOND = ", as an address that others reach: 0.0.0.0, not the loopback interface"
HEADER = "# Made by `herd cluster emit {config} --provider {provider}` of llama-herd {version}. Change the config, not this file.\n"


def _names(folder: str) -> list[str] | None:
    """Returns the names of a folder's files; None if it is not there."""
    path = Path(folder).expanduser()
    return sorted(one.name for one in path.iterdir()) if path.is_dir() else None


class Provider(StrEnum):
    """The program that a cluster file is for."""

    ONPREM = "onprem"
    AWS = "aws"
    GCP = "gcp"
    KUBERAY = "kuberay"
    HAPROXY = "haproxy"
    SYSTEMD = "systemd"


#: Their files start Ray on machines, and `herd up` on the head must find that one.
STARTS_RAY = (Provider.ONPREM, Provider.AWS, Provider.GCP, Provider.SYSTEMD)
#: Their files are for `cluster.onprem`, which may be one host.
OF_HOSTS = (Provider.ONPREM, Provider.SYSTEMD, Provider.HAPROXY)
ON_THEM = ": auto, the Ray that this file starts; local would start another one on the head, and leave the machines idle"


@commands.callback()
def _commands() -> None:
    """Write files that bring the machines of a Ray cluster up."""


@commands.command()
def emit(
    config: Annotated[Path, typer.Argument(help="A herd's YAML file, with a `cluster` section.")],
    provider: Annotated[
        Provider, typer.Option(help="The file is for `ray up` (onprem, aws, gcp), the KubeRay operator, HAProxy, or the head's systemd.")
    ],
    more: More = None,
    sets: Sets = None,
    out: Annotated[Path | None, typer.Option(help="The file to write. Default: standard output.")] = None,
) -> None:
    """Write the file that brings the config's machines up. No secret is ever in it.

    \b
    herd cluster emit configs/maverick-2xdgx-onprem.yaml --provider onprem
    herd cluster emit configs/maverick-2xp5en.yaml --provider aws --out aws.yaml
    """
    with told():
        text = emitted(files(config, more), provider, sets or ())
    try:
        if out is None:
            sys.stdout.write(text)
        else:
            write(out, text)
    except CannotWrite as error:
        tell(f"{out} cannot be written: {error}.")
        raise typer.Exit(FAILED) from None


@commands.command()
def interface(
    addresses: Annotated[list[str] | None, typer.Argument(help="Addresses of the cluster's hosts, this node's among them.")] = None,
    to: Annotated[str | None, typer.Option(help="Another node's address, instead: this node's own is the one that reaches it.")] = None,
) -> None:
    """Print this node's own address and network interface, as exports for a shell.

    `eval "$(herd cluster interface --to HEAD)"` before `ray start` brings gloo, NCCL and vLLM onto the cluster's network of several.

    \b
    herd cluster interface --to 10.0.0.11
    herd cluster interface 10.0.0.11 10.0.0.12
    """
    with told(NoInterface):
        if to is None and not addresses:
            raise NoInterface("name the addresses of the cluster's hosts, or another node with --to")
        place = towards(to) if to is not None else of_any(addresses or [])
    sys.stdout.write(f"export {' '.join(f'{name}={value}' for name, value in place.variables.items())}\n")


@commands.command("start-head", context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def start_head(context: typer.Context) -> None:
    """Start Ray's head with the options of `ray start --head`, and a password for Redis from standard input.

    The password is then in no process's arguments. An empty input means that Redis asks for none.

    \b
    herd cluster start-head --port 6379
    herd cluster start-head --port 6379 --dashboard-host 127.0.0.1
    """
    from deployments.ray_calls.start_head import start_head as start  # here, because it brings Ray

    start(context.args, sys.stdin.read().strip() or None)


def emitted(paths: Sequence[Path], provider: Provider, sets: Sequence[str] = ()) -> str:
    """Returns the file's text, which begins with a line that says from which config and release it came.

    Raises:
        ConfigError: the config is wrong, or lacks what the provider needs.
    """
    words = shlex.join([paths[0].name, *(word for path in paths[1:] for word in ("-f", path.name)), *_set_words(sets)])
    words = "".join(one if one.isprintable() else " " for one in words)  # the line is a comment, which a line's end would end
    config = loaded(paths, sets, problems).config
    if provider in STARTS_RAY and config.cluster is not None:
        _refuse(paths[-1], _unreadable(config.cluster, provider))
    return HEADER.format(config=words, provider=provider, version=version("llama-herd")) + _emitted(paths[-1], config, provider)


def _unreadable(inventory: Inventory, provider: Provider) -> list[Problem]:
    """Returns the commands for secrets that bash, where it is here, cannot read: the whole script of a node's start would end there."""
    commands = {"cluster.secret_command": inventory.secret_command}
    commands |= {f"cluster.secrets.{name}.command": one.command for name, one in inventory.secrets.items() if one.command}
    bash = shutil.which("bash")
    found = []
    for field, command in commands.items() if bash is not None else ():
        command = command.replace("\n", "\n ") if provider is Provider.SYSTEMD else command  # lines of a unit that go on get a space
        asked = f"f() {{\n{command}\n\n}}\n"  # it may end with a comment or a backslash
        done = subprocess.run([bash or "", "-n"], input=asked, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            said = (done.stderr.strip().splitlines() or [""])[0].rpartition(": ")[2]
            found.append(Problem(field, f"cannot be read by bash ({said})"))
    return found


def _set_words(sets: Sequence[str]) -> Iterator[str]:
    for one in sets:
        yield from ("--set", one)


def _emitted(path: Path, config: Config, provider: Provider) -> str:

    def need(field: str, part: Part | None, why: str = "") -> Part:
        if part is None:
            raise ConfigError(str(path), [Problem(field, f"is required for --provider {provider}{why}")])
        return part

    inventory = need("cluster", config.cluster)
    _has_package(path, inventory, provider)
    if provider is Provider.KUBERAY:
        need("cluster.image", inventory.image, ": an image with this package in it")
        site = need("cluster.kuberay", inventory.kuberay)
        if inventory.gcs_folder is not None:
            raise ConfigError(str(path), [Problem("cluster.gcs_folder", "is not known to KubeRay 1.7: use cluster.redis")])
        if inventory.redis_tls is not None:
            raise ConfigError(str(path), [Problem("cluster.redis_tls", "is not known to KubeRay 1.7: leave it out")])
        _refuse(path, [*_unheard(config, provider), *_no_service(config.name)])
        monitor = f"---\n{as_lines(pod_monitor(config.name, site))}" if site.pod_monitor else ""
        return as_lines(_ray_service(_for_pods(path, config), inventory, site)) + monitor
    if provider is Provider.HAPROXY:
        hosts = need("cluster.onprem", inventory.onprem, ": clouds have load balancers of their own")
        _refuse(path, _unheard(config, provider))
        return load_balancer(config.name, inventory, hosts, config.gateway)
    promised = expected(config)
    if provider is Provider.SYSTEMD:
        need("cluster.redis", inventory.redis or inventory.gcs_folder, ": without it a head that comes back knows nothing of the herd")
        kept = need("cluster.onprem", inventory.onprem, ": clouds start machines by themselves")
        _refuse(path, _of_one_machine(config, provider))
        return head_unit(config.name, inventory, kept, promised)
    makers: dict[Provider, Callable[[], dict[str, Any]]] = {
        Provider.ONPREM: lambda: onprem(config.name, inventory, need("cluster.onprem", inventory.onprem), promised),
        Provider.AWS: lambda: aws(config.name, inventory, need("cluster.aws", inventory.aws), promised),
        Provider.GCP: lambda: gcp(config.name, inventory, need("cluster.gcp", inventory.gcp), promised),
    }
    made = makers[provider]()
    _refuse(path, _of_one_machine(config, provider))
    return as_lines(made)


def _refuse(path: Path, found: Sequence[Problem]) -> None:
    if found:
        raise ConfigError(str(path), found)


def _no_service(name: str) -> list[Problem]:
    """Returns what Kubernetes has against a name, which its services get."""
    if re.fullmatch(r"[a-z]([a-z0-9-]*[a-z0-9])?", name):
        return []
    return [Problem("name", f"{name} begins with a letter and ends with a letter or a digit on Kubernetes: its services are called so")]


def _of_one_machine(config: Config, provider: Provider) -> list[Problem]:
    """Returns what a config for this machine alone says: its herd would start a Ray of its own, or its gateways would hear nobody."""
    local = [Problem("ray.address", f"is required for --provider {provider}{ON_THEM}")] if config.ray.address == "local" else []
    return local + _unheard(config, provider)


def _unheard(config: Config, provider: Provider) -> list[Problem]:
    """Returns what is wrong with the address that gateways listen at: each node has some, and clients and the balancer ask any."""
    host, hosts = config.gateway.host, None if config.cluster is None else config.cluster.onprem
    alone = provider in OF_HOSTS and hosts is not None and not hosts.workers
    if on_loopback(host) and not (alone and provider is not Provider.HAPROXY):  # the balancer is another machine
        return [Problem("gateway.host", f"is required for --provider {provider}{BEYOND}")]
    if is_one_machines(host) and not alone:
        return [Problem("gateway.host", f"{host} is one machine's, and gateways on all of them listen there: write 0.0.0.0")]
    return []


def _has_package(path: Path, inventory: Inventory, provider: Provider) -> None:
    """Refuses machines that would start without this package; HAProxy's has none.

    Raises:
        ConfigError: the image lacks it, or its wheel is not here.
    """
    if provider is Provider.HAPROXY:
        return
    absent = without_package(inventory, installs=provider is not Provider.KUBERAY)
    copies = provider in (Provider.ONPREM, Provider.AWS, Provider.GCP)
    found = [absent] if absent is not None else missing_files(inventory, _names) if copies else []
    if found:
        raise ConfigError(str(path), [Problem(field, problem) for field, problem in found])


def _for_pods(path: Path, config: Config) -> Config:
    """Returns a config that pods can start from: they have no `herd up`, which chooses shapes and builds small checkpoints.

    Raises:
        ConfigError: no shape can be chosen, one cannot work, or a checkpoint would have to be built.
    """
    small = [number for number, model in enumerate(config.models) if model.checkpoint.startswith(SMALL)]
    if small:
        raise ConfigError(str(path), [Problem(f"models[{number}].checkpoint", BUILT) for number in small])
    try:
        settled, found = checked(config, known_cluster(config))
    except CannotPlan as error:
        raise ConfigError(str(path), [Problem("models", str(error))]) from error
    if found.refusals:
        raise ConfigError(str(path), [Problem("models", refusal) for refusal in found.refusals])
    return settled


def _ray_service(config: Config, inventory: Inventory, site: KubeRay) -> dict[str, Any]:
    from deployments.lifecycle.applications import (  # here, because it brings Ray Serve, which no other provider needs
        declared,
        gpus_per_node,
    )

    # Every pod has gateways, the head's too.
    applications = declared(config, site.workers + 1, {}).model_dump(mode="json", exclude_unset=True)
    return ray_service(config.name, inventory, site, Served(gpus_per_node(config), config.gateway.port, as_lines(applications)))
