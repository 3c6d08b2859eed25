"""Prometheus, Alertmanager and Grafana beside a herd: which of them start, with which command and files.

Decides what runs without what: Prometheus is needed, the others start where they are installed. All of them keep their files in the folder
`monitor` of the herd's own, and listen on the loopback interface.
"""

import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from cluster.machine.local_node import NodeError
from configs.addresses import on_loopback
from configs.given_files import CannotRead, contents
from configs.inventory import Inventory
from configs.keys import WeakSecret, derived
from configs.load import Environment, as_lines
from configs.provenance import plain
from configs.yaml_text import MOST_BYTES, document
from deployments.lifecycle.access import NoSecret, root
from deployments.lifecycle.known import Herd, OperationError
from deployments.lifecycle.monitor import configurations
from deployments.lifecycle.monitor.configurations import Plain, Surroundings
from deployments.lifecycle.monitor.programs import (
    ALERTMANAGER,
    GRAFANA,
    HOST,
    PROGRAMS,
    PROMETHEUS,
    Program,
    Wanted,
    alone,
    running,
    start,
    stop,
)
from deployments.progress import Say

FOLDER = "monitor"
KEY_FILE = "pages-key"
#: Folders of Grafana that have its defaults, beside the one above its `bin`.
HOMES = (Path("/usr/share/grafana"),)


@dataclass(frozen=True, slots=True)
class Asked:
    """The operator's wishes."""

    ports: Mapping[str, int]
    """By the name of a program."""
    keep_days: int
    """For so long Prometheus keeps what it has read."""
    alertmanager_config: Path | None = None
    """The operator's own file."""


def up(herd: Herd, asked: Asked, given: Environment, say: Say) -> list[str]:
    """Starts what is installed; returns the names of programs that were started, and not those that ran already.

    Raises:
        OperationError: Prometheus is missing, a key cannot be had, a program does not serve, or another command is at it.
    """
    if PROMETHEUS.binary is None:
        raise OperationError(f"Prometheus is not installed here: {PROMETHEUS.get}")
    _refuse_one_port(asked.ports)
    folder = herd.folder / FOLDER
    key = _key(herd, given)
    started = []
    with alone(folder):
        for program, wanted in _wanted(herd, asked, folder, key):
            say(f"Starting {program.name}")
            if start(folder, program, wanted):
                started.append(program.name)
    return started


def _refuse_one_port(ports: Mapping[str, int]) -> None:
    """Refuses a port for two programs that are here, before the first of them starts.

    Raises:
        OperationError: there is one.
    """
    seen: dict[int, str] = {}
    for program in PROGRAMS:
        if program.binary is None:
            continue
        port = ports[program.name]
        if port in seen:
            raise OperationError(f"{seen[port]} and {program.name} cannot both listen on port {port}: give one of them another.")
        seen[port] = program.name


def down(folder: Path, say: Say) -> list[str]:
    """Stops what `up` started; returns the names of programs that ran. What they have kept stays.

    Raises:
        OperationError: one does not end, or another command is at it.
    """
    ended = []
    with alone(folder):
        for program in reversed(PROGRAMS):
            if running(folder, program) is not None:
                say(f"Stopping {program.name}")
            if stop(folder, program):
                ended.append(program.name)
    return ended


def missing() -> list[Program]:
    """Returns the programs that are not installed here."""
    return [program for program in PROGRAMS if program.binary is None]


def folders(given: Environment, name: str | None) -> list[Path]:
    """Returns the folders of herds beside which programs run, also of herds that are down; only of one herd where it is named."""
    found = sorted(given.state.glob(f"{name or '*'}/{FOLDER}"))
    return [folder for folder in found if any(running(folder, program) for program in PROGRAMS)]


def package() -> Path:
    """Returns the folder that the folder `monitoring` is in."""
    import monitoring

    return Path(monitoring.__path__[0]).parent


def _key(herd: Herd, given: Environment) -> str:
    """Returns the key to the gateways' own pages; an empty text where they ask for none.

    Raises:
        OperationError: they ask for one, and it cannot be had here.
    """
    try:
        if herd.config.ray.address == "local":
            return herd.node.key("pages")
        if given.secret is None and "pages" in given.keys:
            return given.keys["pages"].get_secret_value()
        return derived(root(herd.config.cluster or Inventory(), given), "pages")
    except (NodeError, NoSecret, WeakSecret) as error:
        if on_loopback(herd.config.gateway.host):
            return ""
        raise OperationError(f"The gateways' pages ask for a key. {error}") from error


def _wanted(herd: Herd, asked: Asked, folder: Path, key: str) -> Iterator[tuple[Program, Wanted]]:
    around = Surroundings(
        herd=herd.config.name,
        gateway=herd.endpoint,
        key_file=folder / KEY_FILE,
        package=package(),
        alertmanager=f"{HOST}:{asked.ports[ALERTMANAGER.name]}" if ALERTMANAGER.binary else "",
        grafana=f"http://{HOST}:{asked.ports[GRAFANA.name]}" if GRAFANA.binary else "",
        engine_tls=herd.config.engine_tls,
    )
    if ALERTMANAGER.binary:
        yield ALERTMANAGER, _alertmanager(ALERTMANAGER.binary, asked, folder)
    if PROMETHEUS.binary:
        yield PROMETHEUS, _prometheus(PROMETHEUS.binary, asked, folder, around, key)
    if GRAFANA.binary:
        yield GRAFANA, _grafana(GRAFANA.binary, asked, folder)


def _prometheus(binary: str, asked: Asked, folder: Path, around: Surroundings, key: str) -> Wanted:
    port, path = asked.ports[PROMETHEUS.name], folder / "prometheus.yml"
    command = (
        binary,
        f"--config.file={path}",
        f"--storage.tsdb.path={folder / 'prometheus'}",
        f"--storage.tsdb.retention.time={asked.keep_days}d",
        f"--web.listen-address={HOST}:{port}",
        f"--web.external-url=http://{HOST}:{port}",
    )
    text = as_lines(configurations.prometheus(_example("prometheus.yml"), around))
    rules = "".join(file.read_text(encoding="utf-8") for file in sorted((around.package / "monitoring" / "alerts").glob("*.yml")))
    # The rules are not copied; their text stands here so that Prometheus starts anew when another release has others.
    return Wanted(command, port, {path: text, around.key_file: key, folder / "rules-seen": rules})


def _alertmanager(binary: str, asked: Asked, folder: Path) -> Wanted:
    port, path = asked.ports[ALERTMANAGER.name], folder / "alertmanager.yml"
    files: dict[Path, str] = {}
    if asked.alertmanager_config is None:
        files[path] = as_lines(configurations.alertmanager(_example("alertmanager.yml")))
    else:
        path = asked.alertmanager_config.absolute()  # read where it is: it may name further files beside it
        files[folder / "alertmanager-seen"] = _given(path)
    command = (
        binary,
        f"--config.file={path}",
        f"--storage.path={folder / 'alertmanager'}",
        f"--web.listen-address={HOST}:{port}",
        f"--web.external-url=http://{HOST}:{port}",
        "--cluster.listen-address=",  # it would listen on every interface
    )
    return Wanted(command, port, files)


def _given(path: Path) -> str:
    """Returns the operator's own file for Alertmanager, which reads it by its name: a pipe would be empty by then.

    Raises:
        OperationError: it cannot be read.
    """
    try:
        if path.exists() and not path.is_file():
            raise OperationError(f"--alertmanager-config {path} is not a file.")
        return contents(path, MOST_BYTES).decode("utf-8")
    except (CannotRead, UnicodeDecodeError) as error:
        raise OperationError(f"--alertmanager-config {path} cannot be read: {error}") from error


def _grafana(binary: str, asked: Asked, folder: Path) -> Wanted:
    port, own, inside = asked.ports[GRAFANA.name], folder / "grafana", package() / "monitoring"
    ini, password = folder / "grafana.ini", own / "admin-password"
    files = {ini: configurations.grafana(own, port, inside / "grafana" / "provisioning")}
    files[password] = password.read_text(encoding="utf-8") if password.exists() else secrets.token_urlsafe(24)
    program = (binary,) if Path(binary).name == "grafana-server" else (binary, "server")
    command = (
        "env",
        f"HERD_PROMETHEUS=http://{HOST}:{asked.ports[PROMETHEUS.name]}",
        f"HERD_DASHBOARDS={inside / 'dashboards'}",
        *program,
        f"--homepath={_home(binary)}",
        f"--config={ini}",
    )
    return Wanted(command, port, files)


def _home(binary: str) -> Path:
    """Returns Grafana's own folder.

    Raises:
        OperationError: it cannot be found.
    """
    places = (Path(binary).resolve().parent.parent, *HOMES)
    found = next((place for place in places if (place / "conf" / "defaults.ini").exists()), None)
    if found is None:
        raise OperationError(f"{binary} is here, and Grafana's conf/defaults.ini is in none of {', '.join(map(str, places))}.")
    return found


def _example(name: str) -> Plain:
    text = (package() / "monitoring" / name).read_text(encoding="utf-8")
    found: Plain = plain(document(text, name))
    return found
