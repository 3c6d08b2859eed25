"""The cluster files of `ray up`, out of a config's inventory: hosts of one's own, AWS, Google Cloud.

Decides what is said outright because Ray's defaults are not ours: its workers on AWS and Google Cloud are spot machines, its set-up
installs a nightly build, its dashboard listens on all interfaces, its second autoscaler never lets a worker of one's own hosts join.
"""

from collections.abc import Sequence
from typing import Any

from cluster.doctor.facts import Expected
from cluster.provision import ray_start
from configs.inventory import Aws, AwsMachine, Gcp, GcpMachine, Inventory, OnPrem

#: Network cards of a machine; an EFA interface on each.
EFA_CARDS: dict[AwsMachine, int] = {"p5.48xlarge": 32, "p5en.48xlarge": 16}
#: Its processors, and what Ray calls its GPU: on Google Cloud Ray does not find out by itself before a machine is up.
GCP_MACHINES: dict[GcpMachine, tuple[int, str]] = {
    "a3-highgpu-8g": (208, "H100"),
    "a3-megagpu-8g": (208, "H100"),
    "a3-ultragpu-8g": (224, "H200"),
}
EFA_LIBRARIES = "/opt/amazon/ofi-nccl/lib:/opt/amazon/ofi-nccl/lib/x86_64-linux-gnu:/opt/amazon/efa/lib"
UNLOCKED = ("--ulimit=memlock=-1:-1", "--ulimit=nofile=65536:65536")
#: What the nodes' container is called, where Ray runs in one.
CONTAINER = "herd"
INFINIBAND = "--device=/dev/infiniband"


def onprem(name: str, inventory: Inventory, hosts: OnPrem, promised: Expected | None = None) -> dict[str, Any]:
    """For hosts that are there already; `promised` are the GPUs of each, where the config says."""
    return {
        "cluster_name": name,
        "provider": {"type": "local", "head_ip": hosts.head, "worker_ips": list(hosts.workers)},
        "max_workers": len(hosts.workers),
        **_shared(inventory, ()),
        "head_start_ray_commands": ray_start.head(
            inventory, name, f" --node-ip-address={hosts.head}", variables="RAY_enable_autoscaler_v2=0", promised=promised
        ),
        "worker_start_ray_commands": ray_start.worker(inventory, promised=promised),
    }


def aws(name: str, inventory: Inventory, site: Aws, promised: Expected | None = None) -> dict[str, Any]:
    """For AWS. Only the first network card of a worker has an address: the others carry NCCL, which needs none."""
    variables = f"FI_PROVIDER=efa NCCL_SOCKET_IFNAME=^lo,docker LD_LIBRARY_PATH={EFA_LIBRARIES}:$LD_LIBRARY_PATH"
    return {
        "cluster_name": name,
        "provider": {
            "type": "aws",
            "region": site.region,
            "availability_zone": site.zone,
            "use_internal_ips": True,
            "cache_stopped_nodes": False,
        },
        "max_workers": site.workers,
        **_types(
            {"node_config": _aws_head(site), "resources": {"CPU": 0}},
            {"node_config": _aws_worker(site), "resources": {}, "min_workers": site.workers, "max_workers": site.workers},
        ),
        **_shared(inventory, (INFINIBAND, "--volume=/opt/amazon:/opt/amazon:ro")),
        # Ray's autoscaler on the head asks AWS for the workers.
        "head_setup_commands": ["pip install 'boto3>=1.26'"],
        "head_start_ray_commands": ray_start.head(inventory, name, " --num-cpus=0"),
        "worker_start_ray_commands": ray_start.worker(inventory, variables, promised=promised),
    }


def gcp(name: str, inventory: Inventory, site: Gcp, promised: Expected | None = None) -> dict[str, Any]:
    """For Google Cloud. How NCCL is set up there changes with the machine and its image: the machine's own profile says it."""
    libraries = f"{site.nccl_folder}/lib64"
    profile = f"export NCCL_LIB_DIR={libraries} LD_LIBRARY_PATH={libraries}:$LD_LIBRARY_PATH; source {site.nccl_profile}"
    rdma = (INFINIBAND,) if site.machine == "a3-ultragpu-8g" else ()
    cpus, gpu = GCP_MACHINES[site.machine]
    resources = {"CPU": cpus, "GPU": 8, f"accelerator_type:{gpu}": 1}
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
        **_types(
            {"node_config": _gcp_machine(site, site.head_machine, (site.subnetwork,)), "resources": {"CPU": 0}},
            {"node_config": _gcp_worker(site), "resources": resources, "min_workers": site.workers, "max_workers": site.workers},
        ),
        **_shared(inventory, (*rdma, f"--volume={site.nccl_folder}:{site.nccl_folder}:ro")),
        "head_setup_commands": ["pip install google-api-python-client==1.7.8"],  # the version of Ray's own defaults
        "head_start_ray_commands": ray_start.head(inventory, name, " --num-cpus=0"),
        "worker_start_ray_commands": ray_start.worker(inventory, before=profile, promised=promised),
    }


def _types(head: dict[str, Any], worker: dict[str, Any]) -> dict[str, Any]:
    return {"available_node_types": {"head": head, "gpu": worker}, "head_node_type": "head"}


def _shared(inventory: Inventory, worker_options: Sequence[str]) -> dict[str, Any]:
    key = {} if inventory.ssh_key is None else {"ssh_private_key": inventory.ssh_key}
    container = {
        "image": inventory.image,
        "container_name": CONTAINER,
        "pull_before_run": True,
        "run_options": [*UNLOCKED, *(f"--volume={folder}:{folder}" for folder in inventory.mounts)],
        "worker_run_options": list(worker_options),
    }
    return {
        "auth": {"ssh_user": inventory.ssh_user, **key},
        **({} if inventory.image is None else {"docker": container}),
        "file_mounts": ray_start.file_mounts(inventory),
        "initialization_commands": [],
        "setup_commands": ray_start.setup(inventory),
    }


def _aws_machine(site: Aws, machine: str) -> dict[str, Any]:
    profile = {} if site.instance_profile is None else {"IamInstanceProfile": {"Name": site.instance_profile}}
    return {
        "InstanceType": machine,
        "ImageId": site.ami,
        **({} if site.key_name is None else {"KeyName": site.key_name}),
        **profile,
        # Containers are one hop further away from the machine's credentials.
        "MetadataOptions": {"HttpTokens": "required", "HttpPutResponseHopLimit": 2},
        "BlockDeviceMappings": [{"DeviceName": "/dev/sda1", "Ebs": {"VolumeSize": site.disk_gib, "VolumeType": "gp3"}}],
    }


def _aws_head(site: Aws) -> dict[str, Any]:
    return _aws_machine(site, site.head_machine) | {"SubnetIds": [site.subnet], "SecurityGroupIds": [site.security_group]}


def _aws_worker(site: Aws) -> dict[str, Any]:
    target = {"CapacityReservationTarget": {"CapacityReservationId": site.capacity_reservation}}
    return {
        **_aws_machine(site, site.machine),
        "NetworkInterfaces": [
            {
                "NetworkCardIndex": card,
                "DeviceIndex": 1 if card else 0,
                "InterfaceType": "efa-only" if card else "efa",
                "SubnetId": site.subnet,
                "Groups": [site.security_group],
                "DeleteOnTermination": True,
            }
            for card in range(EFA_CARDS[site.machine])
        ],
        **({} if site.market == "on-demand" else {"InstanceMarketOptions": {"MarketType": site.market}}),
        **({} if site.capacity_reservation is None else {"CapacityReservationSpecification": target}),
    }


def _gcp_machine(site: Gcp, machine: str, subnetworks: Sequence[str]) -> dict[str, Any]:
    account = [{"email": site.service_account, "scopes": ["https://www.googleapis.com/auth/cloud-platform"]}]
    disk = {"diskSizeGb": site.disk_gib, "sourceImage": site.source_image}
    return {
        "machineType": machine,
        "disks": [{"boot": True, "autoDelete": True, "type": "PERSISTENT", "initializeParams": disk}],
        "networkInterfaces": [{"subnetwork": one, "nicType": "GVNIC"} for one in subnetworks],
        **({} if site.service_account is None else {"serviceAccounts": account}),
    }


def _gcp_worker(site: Gcp) -> dict[str, Any]:
    described = _gcp_machine(site, site.machine, (site.subnetwork, *site.gpu_subnetworks))
    if site.machine == "a3-ultragpu-8g":  # its first two interfaces are for hosts, the other eight for its GPUs
        described["networkInterfaces"][2:] = [one | {"nicType": "MRDMA"} for one in described["networkInterfaces"][2:]]
    affinity = {"consumeReservationType": "SPECIFIC_RESERVATION", "key": "compute.googleapis.com/reservation-name"}
    return {
        **described,
        "scheduling": {
            "provisioningModel": "SPOT" if site.spot else "STANDARD",
            "onHostMaintenance": "TERMINATE",
            "automaticRestart": not site.spot,
        },
        **({} if site.reservation is None else {"reservationAffinity": affinity | {"values": [site.reservation]}}),
    }
