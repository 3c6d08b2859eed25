"""Machines of AWS and Google Cloud, from which a Ray cluster is brought up.

Decides what an operator may say about them. The files are made in `cluster.provision`.
"""

from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, field_validator, model_validator

from configs.node_environment import Absolute, Environment
from configs.strict import Strict

Id = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._@/-]{0,250}$")]
Region = Annotated[str, StringConstraints(pattern=r"^[a-z]{2,6}(-[a-z]{2,20})+-[0-9]{1,2}$")]
AwsMachine = Literal["p4d.24xlarge", "p5.48xlarge", "p5e.48xlarge", "p5en.48xlarge", "p6-b200.48xlarge", "g6e.48xlarge"]
GcpMachine = Literal["a3-highgpu-8g", "a3-megagpu-8g", "a3-ultragpu-8g"]
DiskType = Annotated[str, StringConstraints(pattern=r"^(pd|hyperdisk)-[a-z-]{2,30}$")]

#: A gp3 volume may have this many MiB/s for each of its IOPS ("General Purpose SSD volumes", EC2's user guide).
GP3_MIB_S_PER_IOPS = 0.25
GP3_IOPS = 3000
#: These move GPUs' memory by TCPX and TCPXO, whose receive daemon must run in a container beside every engine.
WITHOUT_GPUDIRECT = ("a3-highgpu-8g", "a3-megagpu-8g")


class Aws(Strict):
    """Machines with GPUs on AWS, joined by EFA, and a head without GPU. None has a public address: `ray up` runs in their network."""

    region: Region = Field(description="The machines are in this region.")
    zone: Id = Field(description="The machines are in this availability zone: EFA does not leave it.")
    machine: AwsMachine = Field(description="The workers are machines of this type.")
    workers: int = Field(1, ge=1, le=4096, description="The cluster has this many workers.")
    head_machine: Id = Field("m7i.2xlarge", description="Ray's head is a machine of this type, without GPU.")
    ami: Id = Field(
        description="Head and workers start from this image, with NVIDIA's driver, Docker, EFA's driver, and its root disk at /dev/sda1."
    )
    subnet: Id = Field(description="The machines are in this subnet of `zone`, which has a way out for machines without a public address.")
    security_group: Id = Field(
        description="The machines are in this security group. Its members must reach each other on all protocols: EFA needs it."
    )
    placement_group: Id | None = Field(
        None, description="Workers start in the placement group of this name, of the strategy `cluster`: AWS recommends one for EFA."
    )
    market: Literal["on-demand", "capacity-block", "spot"] = Field("on-demand", description="Workers are paid for in this way.")
    capacity_reservation: Id | None = Field(None, description="Workers start in the reservation, or the capacity block, of this id.")
    instance_profile: Id | None = Field(
        None, description="The machines may do all that this profile allows, `secret_command` included. Default: Ray's, on the head."
    )
    key_name: Id | None = Field(None, description="The key pair of `ssh_key` has this name. Default: Ray makes one.")
    disk_gib: int = Field(1000, ge=50, le=65_536, description="Each machine has a disk of this many GiB.")
    disk_mib_s: int | None = Field(
        None, ge=125, le=2000, description="Each machine's disk (gp3) moves this many MiB per second. Default: AWS's own, 125."
    )
    disk_iops: int | None = Field(
        None, ge=GP3_IOPS, le=80_000, description="Each machine's disk (gp3) does this many operations per second. Default: 3000."
    )
    instance_store: bool = Field(
        True,
        description="The workers' own NVMe disks become one disk for weights if this is true. A machine that stops loses what is on it.",
    )
    efa_libraries: Literal["image", "machine"] = Field(
        "image",
        description="EFA's libraries and its NCCL plugin are taken from the container image, or from the machine's /opt/amazon. With the "
        "machine's, the image must have libhwloc15 and rdma-core.",
    )
    environment: Environment = Field(
        default_factory=dict, description="Ray's processes have these variables too, and they go before those of `cluster.environment`."
    )

    @model_validator(mode="after")
    def _capacity_block_is_named(self) -> Self:
        if self.market == "capacity-block" and self.capacity_reservation is None:
            raise ValueError("market: capacity-block needs capacity_reservation, the block's id")
        return self

    @model_validator(mode="after")
    def _disk_is_possible(self) -> Self:
        most = (self.disk_iops or GP3_IOPS) * GP3_MIB_S_PER_IOPS
        if self.disk_mib_s is not None and self.disk_mib_s > most:
            needed = round(self.disk_mib_s / GP3_MIB_S_PER_IOPS)
            raise ValueError(f"disk_mib_s: {self.disk_mib_s} needs disk_iops: {needed} at least (a quarter of a MiB/s for each)")
        return self


class Gcp(Strict):
    """Machines with GPUs on Google Cloud, and a head without GPU. None has a public address: `ray up` runs in their network."""

    project: Id = Field(description="The machines are in this project.")
    zone: Annotated[str, StringConstraints(pattern=r"^[a-z]{2,20}-[a-z]{2,20}[0-9]{1,2}-[a-z]$")] = Field(
        description="The machines are in this zone."
    )
    machine: GcpMachine = Field(description="The workers are machines of this type. Only a3-ultragpu-8g can be brought up by `ray up`.")
    workers: int = Field(1, ge=1, le=4096, description="The cluster has this many workers.")
    head_machine: Id = Field("n2-standard-8", description="Ray's head is a machine of this type, without GPU.")
    source_image: Id = Field(description="Head and workers start from this image, with NVIDIA's driver, Docker and Google's NCCL plugin.")
    subnetwork: Id = Field(description="The first interface of every machine is in this subnetwork.")
    gpu_subnetworks: tuple[Id, ...] = Field(
        (), description="The further interfaces of the workers are in these subnetworks, in this order."
    )
    nccl_folder: Absolute = Field(description="Google's NCCL plugin is in this folder of the machine, /usr/local/gib for instance.")
    nccl_profile: Absolute = Field(description="This script in `nccl_folder` sets NCCL up for the machine. It is sourced, never copied.")
    reservation: Id | None = Field(None, description="Workers start in the reservation of this name.")
    spot: bool = Field(False, description="Workers are spot machines if this is true.")
    service_account: Id | None = Field(
        None, description="The machines may do all that this account allows, `secret_command` included. Default: Ray's, on the head."
    )
    disk_gib: int = Field(1000, ge=50, le=65_536, description="Each machine has a disk of this many GiB.")
    disk_type: DiskType = Field(
        "hyperdisk-balanced", description="The workers' disks are of this type. Machines of A3 take no pd-standard."
    )
    disk_mib_s: int | None = Field(
        None, ge=140, le=2400, description="The workers' disks move this many MiB per second. Default: Google's own for the size."
    )
    disk_iops: int | None = Field(
        None, ge=3000, le=160_000, description="The workers' disks do this many operations per second. Default: Google's own for the size."
    )
    head_disk_type: DiskType = Field("pd-balanced", description="The head's disk is of this type. Machines of N2 take no Hyperdisk.")
    instance_store: bool = Field(
        True,
        description="The workers' own NVMe disks become one disk for weights if this is true. A machine that stops loses what is on it.",
    )
    environment: Environment = Field(
        default_factory=dict, description="Ray's processes have these variables too, and they go before those of `cluster.environment`."
    )

    @field_validator("machine")
    @classmethod
    def _can_do_gpudirect(cls, machine: GcpMachine) -> GcpMachine:
        if machine in WITHOUT_GPUDIRECT:
            raise ValueError(
                f"{machine} moves data between GPUs of different machines only beside Google's receive daemon (TCPX), which `ray up` does "
                "not start: take a3-ultragpu-8g here, or GKE with the daemon as its guide says, and `cluster.kuberay`"
            )
        return machine
