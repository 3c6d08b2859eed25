"""What NVIDIA's driver and container toolkit bring to a host and into its containers, told by files: `nvidia-smi`, and the number of GPUs.

Decides that everything above is as a site has it: Ray finds the toolkit's runtime in Docker and `nvidia-smi` on the host, the container has
`nvidia-smi` only by the runtime, and a node examines itself by it. Ray asks the driver's library for the number and kind of GPUs, which no
file can stand for, so the runtime brings them as the variable that Ray has for that.
"""

import json
from collections.abc import Mapping

from cluster.catalogue.hardware import Node
from tests.multihost.containers import OF_GPUS
from tests.multihost.hosts import Hosts
from tests.unit import nvidia_smi_samples as samples

#: Of `dockerd`.
RUNTIME = f"--add-runtime nvidia={{own}}/{OF_GPUS}"
#: Bundles of engines take a CPU for each GPU and one for each replica.
CPUS = 32
#: Links of an H100 or an H200 and GB/s of each, as `nvidia-smi nvlink -s` shows them.
LINKS, LINK = 18, "26.562 GB/s"
SMI = "nvidia-smi"
#: Before the host's `runc`, beside it: what a container gets is in a file there.
BEFORE_RUNC = """#!/usr/bin/python3
import json, os, sys
words, here = sys.argv[1:], os.path.dirname(os.path.realpath(sys.argv[0]))
with open(os.path.join(here, "gpus.json")) as file:
    gpus = json.load(file)
create = "--bundle" in words
path = os.path.join(words[words.index("--bundle") + 1], "config.json") if create else None
if "--process" in words:  # of `exec`
    path = words[words.index("--process") + 1]
if path is not None:
    said = json.load(open(path))
    said.get("process", said)["env"] += gpus["env"]
    if create:
        said["mounts"] += gpus["mounts"]
    json.dump(said, open(path, "w"))
os.execv(os.path.join(here, "runc"), ["runc", *words])
"""


def install(hosts: Hosts, node: Node | None) -> None:
    """Gives every host of the cluster these GPUs, in place of those that it had; none where it has none.

    Raises:
        LookupError: nobody has written down what `nvidia-smi` says of such a GPU.
    """
    program = hosts.folder / "bin" / SMI
    program.parent.mkdir(exist_ok=True)
    program.unlink(missing_ok=True)
    if node is not None:
        program.write_text(_smi(node), encoding="utf-8")
        program.chmod(0o755)
    for host in hosts.cluster:
        mount = {"destination": f"/usr/bin/{SMI}", "type": "bind", "source": str(program), "options": ["rbind", "ro"]}
        told = {"env": [] if node is None else [f"RAY_OVERRIDE_RESOURCES={json.dumps(resources(node))}"], "mounts": [mount]}
        (host.own / "gpus.json").write_text(json.dumps(told), encoding="utf-8")
        (host.own / OF_GPUS).write_text(BEFORE_RUNC, encoding="utf-8")
        (host.own / OF_GPUS).chmod(0o755)


def resources(node: Node) -> Mapping[str, float]:
    """What Ray finds on a host with these GPUs."""
    return {"CPU": CPUS, "GPU": node.gpus, f"accelerator_type:{node.gpu.name}": 1, "object_store_memory": 256 << 20}


def _smi(node: Node) -> str:
    kind = getattr(samples, node.gpu.name, None)
    if kind is None:
        raise LookupError(f"tests/unit/nvidia_smi_samples.py has no {node.gpu.name}: write down what its `nvidia-smi` says")
    report, links = samples.report(*[samples.gpu(kind)] * node.gpus), samples.nvlinks(*[[LINK] * LINKS] * node.gpus)
    return f"#!/bin/sh\nif [ \"$1\" = nvlink ]; then cat <<'END'\n{links}END\nelse cat <<'END'\n{report}END\nfi\n"
