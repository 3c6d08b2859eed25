"""A systemd unit that keeps Ray on the head: it comes back by itself after its process, its host or Redis was away.

Decides nothing about how Ray starts, which is `ray up`'s own command, but that it is started again whenever it ends. Ray's GCS ends itself
when Redis is away, and nobody else starts a head.
"""

from cluster.doctor.facts import Expected
from cluster.provision.ray_up import CONTAINER, onprem
from configs.inventory import Inventory, OnPrem

#: Long enough for what is left of the last start to end.
AGAIN_S = 2

LINES = """\
# Ray's head of the herd {name}, kept by systemd. On the head's host, after `ray up`:
#   sudo cp herd-head.service /etc/systemd/system/ && sudo systemctl enable --now herd-head
# and before `ray up` or `ray down` the next time:
#   sudo systemctl stop herd-head
[Unit]
Description=Ray head of the herd {name}
Wants=network-online.target
After=network-online.target{after}
StartLimitIntervalSec=0

[Service]
User={user}
LimitNOFILE=65536
LimitMEMLOCK=infinity
{before}ExecStartPre=-{stop}
ExecStart={start}
ExecStop={stop}
Restart=always
RestartSec={again_s}

[Install]
WantedBy=multi-user.target
"""


def head_unit(name: str, inventory: Inventory, hosts: OnPrem, promised: Expected | None = None) -> str:
    """The unit's text; `promised` are the GPUs of each host, where the config says.

    Ray stays in the foreground (`--block`), ends when one of its processes does, and takes the others with it.
    """
    *_, start = onprem(name, inventory, hosts, promised)["head_start_ray_commands"]
    inside = "" if inventory.image is None else f"/usr/bin/docker exec {CONTAINER} "
    return LINES.format(
        name=name,
        user=inventory.ssh_user,
        after=" docker.service" if inside else "",
        before=f"ExecStartPre=-/usr/bin/docker start {CONTAINER}\n" if inside else "",
        start=f"{inside}{_shell(f'{start} --block')}",
        stop=f"{inside}{_shell('ray stop')}",
        again_s=AGAIN_S,
    )


def _shell(command: str) -> str:
    """As `ray up` runs it, in the words of a unit, where `$` and `%` mean something too (systemd.service(5), "Command lines")."""
    quoted = command.replace("\\", "\\\\").replace('"', '\\"').replace("$", "$$").replace("%", "%%")
    return f'/bin/bash --login -i -c "{quoted}"'
