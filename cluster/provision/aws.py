"""The cluster file of `ray up` for AWS.

Decides what is said outright because Ray's defaults are not ours: its workers are spot machines, and its machines' metadata answers
everybody. A machine's GPUs reach others over EFA, through a network interface on each of its cards.
"""

from typing import Any, get_args

from cluster.catalogue.hardware import NODES
from cluster.doctor.facts import Expected
from cluster.provision import disks, ray_start
from cluster.provision.containers import INFINIBAND
from cluster.provision.ray_start import Start
from cluster.provision.ray_up import cloud_worker, node_types, shared
from configs.clouds import Aws, AwsMachine
from configs.inventory import Inventory

#: Network cards of a machine: those that its GPUs' traffic goes over, and the ones of g6e, which no engine needs.
EFA_CARDS: dict[AwsMachine, int] = {machine: NODES[machine].fabric.ports for machine in get_args(AwsMachine)} | {"g6e.48xlarge": 4}
#: The installer of EFA puts its NCCL plugin into one of two folders, by its version.
PLUGINS = ("/opt/amazon/ofi-nccl/lib", "/opt/amazon/ofi-nccl/lib/x86_64-linux-gnu")
LIBRARIES = ":".join((*PLUGINS, "/opt/amazon/efa/lib"))


def aws(name: str, inventory: Inventory, site: Aws, promised: Expected | None = None) -> dict[str, Any]:
    """For AWS; `promised` are the GPUs of each worker, where the config says."""
    libraries = ["--volume=/opt/amazon:/opt/amazon:ro"] if site.efa_libraries == "machine" else []
    first = {"initialization_commands": [disks.prepared(disks.AWS_DISKS if site.instance_store else None)]}
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
        **node_types(
            {"node_config": _head(site), "resources": {"CPU": 0}}, {"node_config": _worker(site), "resources": {}, **first}, site.workers
        ),
        **shared(inventory, site.environment, worker_options=[INFINIBAND, *libraries, disks.volume(disks.FOLDER)]),
        # Ray's autoscaler on the head asks AWS for the workers.
        "head_setup_commands": ["pip install 'boto3>=1.26'"],
        "head_start_ray_commands": ray_start.head(inventory, name, Start(environment=site.environment, flags=" --num-cpus=0")),
        "worker_start_ray_commands": ray_start.worker(inventory, cloud_worker(site.environment, _efa(), promised)),
    }


def _efa() -> tuple[str, ...]:
    """Returns lines that stop a node whose plugin cannot be loaded: NCCL would go on over sockets, as slow as over Ethernet."""
    plugins = " ".join(f"{folder}/libnccl-net*.so" for folder in PLUGINS)
    way_out = "take an image with EFA's installer (--skip-kmod) and libhwloc15, see cluster/README.md"
    return (
        "# EFA and its NCCL plugin must work here: NCCL would go over sockets without a word.",
        f"export FI_PROVIDER=efa LD_LIBRARY_PATH={LIBRARIES}:$LD_LIBRARY_PATH",
        "/opt/amazon/efa/bin/fi_info -p efa > /dev/null ||",
        f'  {{ echo "EFA cannot be used here: {way_out}" >&2; exit 1; }}',
        f"HERD_LACKS=\"$(ldd {plugins} 2> /dev/null | awk '/not found/ {{print $1}}' | sort -u | xargs)\"",
        f'test -z "$HERD_LACKS" || {{ echo "EFA\'s NCCL plugin lacks $HERD_LACKS: {way_out}" >&2; exit 1; }}',
    )


def _machine(site: Aws, machine: str) -> dict[str, Any]:
    profile = {} if site.instance_profile is None else {"IamInstanceProfile": {"Name": site.instance_profile}}
    speed = {"Throughput": site.disk_mib_s, "Iops": site.disk_iops}
    disk = {"VolumeSize": site.disk_gib, "VolumeType": "gp3", **{name: value for name, value in speed.items() if value is not None}}
    return {
        "InstanceType": machine,
        "ImageId": site.ami,
        **({} if site.key_name is None else {"KeyName": site.key_name}),
        **profile,
        # Containers are one hop further away from the machine's credentials.
        "MetadataOptions": {"HttpTokens": "required", "HttpPutResponseHopLimit": 2},
        "BlockDeviceMappings": [{"DeviceName": "/dev/sda1", "Ebs": disk}],
    }


def _head(site: Aws) -> dict[str, Any]:
    return _machine(site, site.head_machine) | {"SubnetIds": [site.subnet], "SecurityGroupIds": [site.security_group]}


def _worker(site: Aws) -> dict[str, Any]:
    target = {"CapacityReservationTarget": {"CapacityReservationId": site.capacity_reservation}}
    return {
        **_machine(site, site.machine),
        "NetworkInterfaces": _interfaces(site),
        **({} if site.placement_group is None else {"Placement": {"GroupName": site.placement_group}}),
        **({} if site.market == "on-demand" else {"InstanceMarketOptions": {"MarketType": site.market}}),
        **({} if site.capacity_reservation is None else {"CapacityReservationSpecification": target}),
    }


def _interfaces(site: Aws) -> list[dict[str, Any]]:
    """Returns one interface with an address, and EFA on every card, which needs none.

    Places are AWS's own (EC2's user guide, "Maximize network bandwidth on Amazon EC2 instances with multiple network cards"): the interface
    with the address is device 0 of card 0, its EFA device 1, and EFA is device 0 of every other card.
    """
    places = [(0, 0, "interface"), (0, 1, "efa-only"), *((card, 0, "efa-only") for card in range(1, EFA_CARDS[site.machine]))]
    return [
        {
            "NetworkCardIndex": card,
            "DeviceIndex": device,
            "InterfaceType": kind,
            "SubnetId": site.subnet,
            "Groups": [site.security_group],
            "DeleteOnTermination": True,
        }
        for card, device, kind in places
    ]
