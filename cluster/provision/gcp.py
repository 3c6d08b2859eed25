"""The cluster file of `ray up` for Google Cloud.

Decides what is said outright because Ray's defaults are not ours: its workers are spot machines, and a disk without a type is pd-standard,
which machines with H100 and H200 refuse.
"""

from collections.abc import Sequence
from typing import Any

from cluster.doctor.facts import Expected
from cluster.provision import disks, ray_start
from cluster.provision.containers import INFINIBAND
from cluster.provision.ray_start import Start
from cluster.provision.ray_up import cloud_worker, node_types, shared
from configs.clouds import Gcp
from configs.inventory import Inventory

#: An a3-ultragpu-8g, as Ray must be told before a machine is up: its processors, its GPUs, and what Ray calls these.
ULTRA = {"CPU": 224, "GPU": 8, "accelerator_type:H200": 1}
#: Its first two interfaces are for hosts, the other eight for its GPUs.
HOST_INTERFACES = 2


def gcp(name: str, inventory: Inventory, site: Gcp, promised: Expected | None = None) -> dict[str, Any]:
    """For Google Cloud. How NCCL is set up there changes with the machine and its image: the machine's own profile says it."""
    libraries = f"{site.nccl_folder}/lib64"
    profile = (f"export NCCL_LIB_DIR={libraries} LD_LIBRARY_PATH={libraries}:$LD_LIBRARY_PATH", f"source {site.nccl_profile}")
    plugin = f"--volume={site.nccl_folder}:{site.nccl_folder}:ro"
    first = {"initialization_commands": [disks.prepared(disks.GCP_DISKS if site.instance_store else None)]}
    return {
        "cluster_name": name,
        "provider": {
            "type": "gcp",
            "project_id": site.project,
            "region": site.zone.rpartition("-")[0],
            "availability_zone": site.zone,
            "use_internal_ips": True,
        },
        "max_workers": site.workers,
        **node_types(
            {"node_config": _head(site), "resources": {"CPU": 0}}, {"node_config": _worker(site), "resources": ULTRA, **first}, site.workers
        ),
        **shared(inventory, site.environment, worker_options=[INFINIBAND, plugin, disks.volume(disks.FOLDER)]),
        "head_setup_commands": ["pip install google-api-python-client==1.7.8"],  # the version of Ray's own defaults
        "head_start_ray_commands": ray_start.head(inventory, name, Start(environment=site.environment, flags=" --num-cpus=0")),
        "worker_start_ray_commands": ray_start.worker(inventory, cloud_worker(site.environment, profile, promised)),
    }


def _machine(site: Gcp, machine: str, disk: dict[str, str], interfaces: Sequence[dict[str, str]]) -> dict[str, Any]:
    account = [{"email": site.service_account, "scopes": ["https://www.googleapis.com/auth/cloud-platform"]}]
    # Numbers of 64 bits are texts in Google's JSON.
    made = {"diskSizeGb": str(site.disk_gib), "sourceImage": site.source_image, **disk}
    return {
        "machineType": machine,
        "disks": [{"boot": True, "autoDelete": True, "type": "PERSISTENT", "initializeParams": made}],
        "networkInterfaces": list(interfaces),
        **({} if site.service_account is None else {"serviceAccounts": account}),
    }


def _disk_type(site: Gcp, kind: str) -> dict[str, str]:
    return {"diskType": f"zones/{site.zone}/diskTypes/{kind}"}


def _head(site: Gcp) -> dict[str, Any]:
    return _machine(site, site.head_machine, _disk_type(site, site.head_disk_type), [{"subnetwork": site.subnetwork, "nicType": "GVNIC"}])


def _worker(site: Gcp) -> dict[str, Any]:
    speed = {"provisionedThroughput": site.disk_mib_s, "provisionedIops": site.disk_iops}
    disk = _disk_type(site, site.disk_type) | {name: str(value) for name, value in speed.items() if value is not None}
    networks = enumerate((site.subnetwork, *site.gpu_subnetworks))
    interfaces = [{"subnetwork": one, "nicType": "GVNIC" if index < HOST_INTERFACES else "MRDMA"} for index, one in networks]
    affinity = {"consumeReservationType": "SPECIFIC_RESERVATION", "key": "compute.googleapis.com/reservation-name"}
    return {
        **_machine(site, site.machine, disk, interfaces),
        "scheduling": {
            "provisioningModel": "SPOT" if site.spot else "STANDARD",
            "onHostMaintenance": "TERMINATE",
            "automaticRestart": not site.spot,
        },
        **({} if site.reservation is None else {"reservationAffinity": affinity | {"values": [site.reservation]}}),
    }
