"""The machines of a herd, from which a Ray cluster is brought up: hosts of your own, AWS, Google Cloud, Kubernetes.

Decides what an operator may say about them. Files are made from it in `cluster.provision.ray_up`, `cluster.provision.kuberay` and
`cluster.provision.haproxy`. No secret is ever a field: nodes run a command that prints it.
"""

from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from configs.certificates import Certificates
from configs.strict import Strict

#: IPv4, IPv6 or a name; which of them can be a host's is for `configs.cross_checks`.
Address = Annotated[str, StringConstraints(pattern=r"^([A-Za-z0-9]([A-Za-z0-9.-]{0,250}[A-Za-z0-9])?|[0-9A-Fa-f:.]{2,45})$")]
HostPort = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9.-]{0,250}:[0-9]{1,5}$")]
Image = Annotated[
    str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9.:/_-]{0,200}(:[A-Za-z0-9_][A-Za-z0-9._-]{0,127}|@sha256:[0-9a-f]{64})$")
]
Wheel = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._/+-]{1,200}\.whl$")]
File = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._/~+-]{1,200}$")]
Id = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._@/-]{0,250}$")]
SubDomain = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9-]{0,60}[a-z0-9])?$")]
AwsMachine = Literal["p5.48xlarge", "p5en.48xlarge"]
Cloud = Literal["aws", "gcp"]
GcpMachine = Literal["a3-highgpu-8g", "a3-megagpu-8g", "a3-ultragpu-8g"]


class OnPrem(Strict):
    """Hosts that are there already, reached by ssh. The head may have GPUs too."""

    head: Address = Field(description="Ray's head runs on the host with this address or name, as the other hosts see it.")
    workers: tuple[Address, ...] = Field((), description="All other hosts have these addresses or names.")


class Aws(Strict):
    """Machines with GPUs on AWS, joined by EFA, and a head without GPU. None has a public address: `ray up` runs in their network."""

    region: Id = Field(description="The machines are in this region.")
    zone: Id = Field(description="The machines are in this availability zone: EFA does not leave it.")
    machine: AwsMachine = Field(description="The workers are machines of this type.")
    workers: int = Field(1, ge=1, le=4096, description="The cluster has this many workers.")
    head_machine: Id = Field("m7i.2xlarge", description="Ray's head is a machine of this type, without GPU.")
    ami: Id = Field(description="Head and workers start from this image, with NVIDIA's driver, Docker, EFA and its NCCL plugin.")
    subnet: Id = Field(description="The machines are in this subnet of `zone`, which has a way out for machines without a public address.")
    security_group: Id = Field(
        description="The machines are in this security group. Its members must reach each other on all protocols: EFA needs it."
    )
    market: Literal["on-demand", "capacity-block", "spot"] = Field("on-demand", description="Workers are paid for in this way.")
    capacity_reservation: Id | None = Field(None, description="Workers start in the reservation, or the capacity block, of this id.")
    instance_profile: Id | None = Field(
        None, description="The machines may do all that this profile allows, `secret_command` included. Default: Ray's, on the head."
    )
    key_name: Id | None = Field(None, description="The key pair of `ssh_key` has this name. Default: Ray makes one.")
    disk_gib: int = Field(1000, ge=50, le=65_536, description="Each machine has a disk of this many GiB.")

    @model_validator(mode="after")
    def _capacity_block_is_named(self) -> Self:
        if self.market == "capacity-block" and self.capacity_reservation is None:
            raise ValueError("market: capacity-block needs capacity_reservation, the block's id")
        return self


class Gcp(Strict):
    """Machines with GPUs on Google Cloud, and a head without GPU. None has a public address: `ray up` runs in their network."""

    project: Id = Field(description="The machines are in this project.")
    zone: Annotated[str, StringConstraints(pattern=r"^[a-z]{2,20}-[a-z]{2,20}[0-9]{1,2}-[a-z]$")] = Field(
        description="The machines are in this zone."
    )
    machine: GcpMachine = Field(description="The workers are machines of this type.")
    workers: int = Field(1, ge=1, le=4096, description="The cluster has this many workers.")
    head_machine: Id = Field("n2-standard-8", description="Ray's head is a machine of this type, without GPU.")
    source_image: Id = Field(description="Head and workers start from this image, with NVIDIA's driver, Docker and Google's NCCL plugin.")
    subnetwork: Id = Field(description="The first interface of every machine is in this subnetwork.")
    gpu_subnetworks: tuple[Id, ...] = Field(
        (), description="The further interfaces of the workers are in these subnetworks, in this order."
    )
    nccl_folder: File = Field(description="Google's NCCL plugin is in this folder of the machine, /usr/local/gib for instance.")
    nccl_profile: File = Field(description="This script in `nccl_folder` sets NCCL up for the machine. It is sourced, never copied.")
    reservation: Id | None = Field(None, description="Workers start in the reservation of this name.")
    spot: bool = Field(False, description="Workers are spot machines if this is true.")
    service_account: Id | None = Field(
        None, description="The machines may do all that this account allows, `secret_command` included. Default: Ray's, on the head."
    )
    disk_gib: int = Field(1000, ge=50, le=65_536, description="Each machine has a disk of this many GiB.")


class KubeRay(Strict):
    """Pods of a Kubernetes cluster with the KubeRay operator."""

    workers: int = Field(1, ge=1, le=4096, description="The cluster has this many worker pods.")
    worker_cpus: int = Field(64, ge=1, le=1024, description="A worker pod has this many CPUs.")
    worker_memory_gib: int = Field(512, ge=1, le=16_384, description="A worker pod has this many GiB of memory.")
    head_cpus: int = Field(4, ge=1, le=1024, description="The head's pod has this many CPUs.")
    head_memory_gib: int = Field(16, ge=1, le=16_384, description="The head's pod has this many GiB of memory.")
    secret: SubDomain = Field(
        "herd",
        description="The Kubernetes Secret of this name has the lines of `herd secret --env-file`, and `redis-password` if Redis asks "
        "for one.",
    )


class Inventory(Strict):
    """The machines from which `herd cluster emit` makes cluster files. Fields that several providers share stand here."""

    image: Image | None = Field(None, description="Every node runs this container image, pinned by tag or digest. Default: no container.")
    wheel: Wheel | None = Field(
        None, description="This package is installed from a wheel of this path, beside `ray up`. Default: the image or the nodes have it."
    )
    constraints: File = Field("constraints-gpu.txt", description="The wheel is installed with the versions in this file.")
    mounts: tuple[File, ...] = Field((), description="The container sees these folders of the node at the same path: weights, secrets.")
    secret_command: str = Field(
        "printenv HERD_SECRET",
        min_length=1,
        description="This command prints the herd's secret on a node (in its container), where HERD_SECRET is not set already.",
    )
    ssh_user: Annotated[str, StringConstraints(pattern=r"^[a-z_][a-z0-9_-]{0,31}$")] = Field(
        "ubuntu", description="`ray up` logs in as this user."
    )
    ssh_key: File | None = Field(
        None, description="`ray up` logs in with the private key at this path. Default: ssh's own, or one that Ray makes in the cloud."
    )
    preflight: bool = Field(
        True, description="A node examines itself before its Ray starts (`herd doctor`) if this is true; a sick one gets no replica."
    )
    redis: HostPort | None = Field(
        None,
        description="A lost head comes back with its state from the Redis at this address, outside of the cluster. Its password: "
        "HERD_REDIS_PASSWORD.",
    )
    redis_tls: Certificates | None = Field(
        None,
        description="The head shows Redis these certificates instead of a password, which Ray would put into its processes' arguments.",
    )
    gcs_folder: File | None = Field(
        None,
        description="A lost head comes back with its state from this folder on its own disk (RocksDB, alpha in Ray): for a trial, "
        "instead of Redis. With the disk all is lost.",
    )
    balancer_port: int = Field(80, ge=1, le=65_535, description="HAProxy listens on this port, on a machine of its own.")
    onprem: OnPrem | None = Field(None, description="Hosts of your own are described here.")
    aws: Aws | None = Field(None, description="Machines on AWS are described here.")
    gcp: Gcp | None = Field(None, description="Machines on Google Cloud are described here.")
    kuberay: KubeRay | None = Field(None, description="Pods of a Kubernetes cluster are described here.")

    @property
    def cloud(self) -> Cloud | None:
        """Returns the cloud whose machines are described; None if there are others beside them, or none."""
        if self.onprem is not None or self.kuberay is not None or (self.aws is None) == (self.gcp is None):
            return None
        return "gcp" if self.aws is None else "aws"

    @property
    def outlives_its_head(self) -> bool:
        """Tells whether Ray's GCS keeps its state where the next GCS finds it."""
        return self.redis is not None or self.gcs_folder is not None

    @model_validator(mode="after")
    def _one_store(self) -> Self:
        if self.redis is None and self.redis_tls is not None:
            raise ValueError("redis_tls needs redis, the address")
        if self.redis is not None and self.gcs_folder is not None:
            raise ValueError("redis and gcs_folder cannot both keep the state of Ray's GCS: leave one out")
        return self

    @model_validator(mode="after")
    def _image_is_pinned(self) -> Self:
        if self.image is not None and self.image.endswith(":latest"):
            raise ValueError("image must be pinned by a tag or digest: `latest` changes without notice")
        return self
