"""A systemd unit that keeps Ray on the head: it comes back by itself after its process, its host or Redis was away.

Decides nothing about how Ray starts, which is `ray up`'s own script, but that it is started again whenever it ends: Ray's GCS ends itself
when Redis is away, and nobody else starts a head. `ray up` starts containers that are removed when they stop (`docker run --rm`), with all
that it copied into them. So the unit keeps these files, and starts the same container itself.
"""

from cluster.doctor.facts import Expected
from cluster.provision import containers, ray_start
from cluster.provision.ray_up import head_start, host_options
from configs.inventory import Inventory, OnPrem

#: Long enough for what is left of the last start to end.
AGAIN_S = 2
#: Ray's own limit is 90 s for each of its processes.
STOP_S = 60
#: systemd makes this folder (`StateDirectory`).
STATE = "herd-head"
FOLDER = f"/var/lib/{STATE}"

UNIT = """\
# On the head's host, after `ray up`:
#   sudo cp herd-head.service /etc/systemd/system/ && sudo systemctl enable --now herd-head
# and before `ray up` or `ray down` the next time:
#   sudo systemctl stop herd-head
[Unit]
Description=Ray head of the herd {name}
Wants=network-online.target
After=network-online.target{after}
StartLimitIntervalSec=0

[Service]
{service}
LimitNOFILE=65536
LimitMEMLOCK=infinity
TimeoutStartSec=infinity
Environment="HERD_START={script}"
{commands}
Restart=always
RestartSec={again_s}

[Install]
WantedBy=multi-user.target
"""
#: The variable is for this shell only.
EVALUATED = 'start="$HERD_START"; unset HERD_START; eval "$start"'
#: Files of `ray up`: the cluster's, the key to its workers, the wheel; and which workers Ray's autoscaler has started: it would start, and
#: so stop, all of them again.
KEPT = """\
if docker inspect {container} > /dev/null 2>&1; then
  docker exec {container} bash -c 'cd && tar -c --ignore-failed-read -h ray_bootstrap_config.yaml ray_bootstrap_key.pem .herd
    /tmp/ray/cluster-{name}.state 2> /dev/null' | tar -x -p --numeric-owner -C {folder};
  chown --reference={folder}/ray_bootstrap_config.yaml {folder};
  docker rm --force {container} > /dev/null;
fi;
test -e {folder}/ray_bootstrap_config.yaml || {{ echo 'The first start of this head is by ray up' >&2; exit 1; }}"""
#: As Ray chooses them on a host: NVIDIA's runtime where there is one, and a third of the free memory.
RUNTIME = "$(docker info -f '{{.Runtimes}}' | grep -q nvidia-container-runtime && nvidia-smi > /dev/null 2>&1 && echo --runtime=nvidia)"
SHM = """--shm-size=$(awk '/MemAvailable/ {s = $2 * 1024 * 0.33; printf "%.0f", (s > 2e11 ? 2e11 : s)}' /proc/meminfo)b"""


def head_unit(name: str, inventory: Inventory, hosts: OnPrem, promised: Expected | None = None) -> str:
    """Returns the unit's text; `promised` are the GPUs of each host, where the config says.

    Ray stays in the foreground (`--block`), ends when one of its processes does, and takes the others with it.
    """
    *_, script = ray_start.head(inventory, name, head_start(inventory, hosts, promised))
    script = f"{script.rstrip()} --block\n"
    parts = _bare(inventory) if inventory.image is None else _contained(name, inventory, hosts)
    if inventory.image is not None:
        script = _restored(name) + "".join(f"{one}\n" for one in ray_start.setup(inventory, hosts.environment)) + script
    return UNIT.format(name=name, script=_lines(script), again_s=AGAIN_S, **parts)


def _bare(inventory: Inventory) -> dict[str, str]:
    stop = '/bin/bash --login -i -c "ray stop"'
    start = f"/bin/bash --login -i -c {_word(EVALUATED)}"
    commands = f"ExecStartPre=-{stop}\nExecStart={start}\nExecStop={stop}"
    return {"service": f"User={inventory.ssh_user}", "after": "", "commands": commands}


def _contained(name: str, inventory: Inventory, hosts: OnPrem) -> dict[str, str]:
    options = [*containers.options(inventory, host_options(inventory, hosts)), RUNTIME, SHM, f"--volume={FOLDER}:{FOLDER}"]
    run = [
        f"exec docker run --rm --name={containers.NAME} --net=host --env=HERD_START --env=LC_ALL=C.UTF-8 --env=LANG=C.UTF-8",
        *options,
        f"{inventory.image} /bin/bash --login -i -c '{EVALUATED}'",
    ]
    kept = KEPT.format(container=containers.NAME, name=name, folder=FOLDER)
    commands = [
        f"ExecStartPre=/bin/bash -c {_word(kept)}",
        f"ExecStart=/bin/bash -c {_word(chr(10).join(run))}",
        f"ExecStop=-/usr/bin/docker stop --time={STOP_S} {containers.NAME}",
    ]
    return {"service": f"StateDirectory={STATE}", "after": " docker.service", "commands": "\n".join(commands)}


def _restored(name: str) -> str:
    """Ray writes the state through the link: what changes while this container runs is there for the next one."""
    return (
        f"tar -c -h -C {FOLDER} --ignore-failed-read ray_bootstrap_config.yaml ray_bootstrap_key.pem .herd 2> /dev/null | tar -x -p -C ~\n"
        f"mkdir -p /tmp/ray && ln -sf {FOLDER}/tmp/ray/cluster-{name}.state /tmp/ray/\n"
    )


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")


def _lines(script: str) -> str:
    """A script in the value of a variable: a line of the unit for each of its lines (systemd.syntax(7), "Quoting")."""
    lines = [_escaped(line) for line in script.splitlines() if not line.startswith("#")]  # the unit's comments would begin there
    return "".join(f"{line}\\n\\\n" for line in lines)


def _word(command: str) -> str:
    """A command as one word of a unit's command line, where `$` means something too (systemd.service(5), "Command lines")."""
    escaped = _escaped(command).replace("$", "$$")
    return '"' + " \\\n    ".join(line.strip() for line in escaped.splitlines()) + '"'
