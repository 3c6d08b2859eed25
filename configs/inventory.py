"""The machines of a herd, for who brings a Ray cluster up: hosts of one's own, AWS, Google Cloud, Kubernetes.

Decides what an operator may say about them. What comes of it is in `cluster.provision.ray_up`, `cluster.provision.kuberay` and
`cluster.provision.haproxy`. No secret is ever a field: nodes run a command that prints it.
"""

from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from configs.certificates import Certificates
from configs.strict import Strict

Address = Annotated[str, StringConstraints(pattern=r"^[0-9]{1,3}(\.[0-9]{1,3}){3}$")]
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

    head: Address = Field(description="Where Ray's head runs, as the other hosts see it.")
    workers: tuple[Address, ...] = Field((), description="All other hosts.")


class Aws(Strict):
    """Machines with GPUs on AWS, joined by EFA, and a head without GPU. None has a public address: `ray up` runs in their network."""

    region: Id
    zone: Id = Field(description="An availability zone: EFA does not leave it.")
    machine: AwsMachine
    workers: int = Field(1, ge=1, le=4096)
    head_machine: Id = Field("m7i.2xlarge", description="Ray's head: a machine without GPU.")
    ami: Id = Field(description="For head and workers: with NVIDIA's driver, Docker, EFA and its NCCL plugin.")
    subnet: Id = Field(description="In `zone`, with a way out for machines without a public address.")
    security_group: Id = Field(description="Must let its own members reach each other on all protocols: EFA needs it.")
    market: Literal["on-demand", "capacity-block", "spot"] = Field("on-demand", description="How workers are paid for.")
    capacity_reservation: Id | None = Field(None, description="The id of a reservation, or of a capacity block.")
    instance_profile: Id | None = Field(
        None, description="What the machines may do, `secret_command` included. Default: Ray's, on the head."
    )
    key_name: Id | None = Field(None, description="The key pair of `ssh_key`. Default: Ray makes one.")
    disk_gib: int = Field(1000, ge=50, le=65_536)

    @model_validator(mode="after")
    def _capacity_block_is_named(self) -> Self:
        if self.market == "capacity-block" and self.capacity_reservation is None:
            raise ValueError("market: capacity-block needs capacity_reservation, the block's id")
        return self


class Gcp(Strict):
    """Machines with GPUs on Google Cloud, and a head without GPU. None has a public address: `ray up` runs in their network."""

    project: Id
    zone: Annotated[str, StringConstraints(pattern=r"^[a-z]{2,20}-[a-z]{2,20}[0-9]{1,2}-[a-z]$")]
    machine: GcpMachine
    workers: int = Field(1, ge=1, le=4096)
    head_machine: Id = Field("n2-standard-8", description="Ray's head: a machine without GPU.")
    source_image: Id = Field(description="For head and workers: with NVIDIA's driver, Docker and Google's NCCL plugin.")
    subnetwork: Id = Field(description="Of the first interface of every machine.")
    gpu_subnetworks: tuple[Id, ...] = Field((), description="Of the workers' further interfaces, in their order.")
    nccl_folder: File = Field(description="Google's NCCL plugin on the machine, /usr/local/gib for instance.")
    nccl_profile: File = Field(description="The script that sets NCCL up for this machine, in that folder; it is sourced, never copied.")
    reservation: Id | None = Field(None, description="The name of a reservation.")
    spot: bool = False
    service_account: Id | None = Field(
        None, description="What the machines may do, `secret_command` included. Default: Ray's, on the head."
    )
    disk_gib: int = Field(1000, ge=50, le=65_536)


class KubeRay(Strict):
    """Pods of a Kubernetes cluster with the KubeRay operator."""

    workers: int = Field(1, ge=1, le=4096)
    worker_cpus: int = Field(64, ge=1, le=1024)
    worker_memory_gib: int = Field(512, ge=1, le=16_384)
    head_cpus: int = Field(4, ge=1, le=1024)
    head_memory_gib: int = Field(16, ge=1, le=16_384)
    secret: SubDomain = Field(
        "herd",
        description="The Kubernetes Secret that has the lines of `herd secret --env-file`, and `redis-password` where Redis asks for one.",
    )


class Inventory(Strict):
    """What `herd cluster emit` makes cluster files of. What several places share stands once."""

    image: Image | None = Field(None, description="The container on every node, pinned by tag or digest. Default: no container.")
    wheel: Wheel | None = Field(None, description="This package, as a wheel beside `ray up`. Default: the image or the nodes have it.")
    constraints: File = Field("constraints-gpu.txt", description="The versions to install the wheel with.")
    mounts: tuple[File, ...] = Field((), description="Folders of a node that the container sees at the same place: weights, secrets.")
    secret_command: str = Field(
        "printenv HERD_SECRET",
        min_length=1,
        description="Prints the herd's secret on a node (in its container), where HERD_SECRET is not set already.",
    )
    ssh_user: Annotated[str, StringConstraints(pattern=r"^[a-z_][a-z0-9_-]{0,31}$")] = "ubuntu"
    ssh_key: File | None = Field(None, description="A private key's path. Default: ssh's own, or one that Ray makes in the cloud.")
    preflight: bool = Field(True, description="A node examines itself before its Ray starts (`herd doctor`); a sick one gets no replica.")
    redis: HostPort | None = Field(
        None, description="A Redis outside of the cluster: a lost head comes back. Its password: HERD_REDIS_PASSWORD."
    )
    redis_tls: Certificates | None = Field(
        None, description="How the head shows Redis who it is, instead of a password, which Ray would put into its processes' arguments."
    )
    gcs_folder: File | None = Field(
        None,
        description="Instead of Redis, for a trial: a folder on the head's own disk (RocksDB, alpha in Ray). With the disk all is lost.",
    )
    balancer_port: int = Field(80, ge=1, le=65_535, description="Where HAProxy listens, on a machine of its own.")
    onprem: OnPrem | None = None
    aws: Aws | None = None
    gcp: Gcp | None = None
    kuberay: KubeRay | None = None

    @property
    def cloud(self) -> Cloud | None:
        """Whose machines they are, where a cloud's are described and no others."""
        if self.onprem is not None or self.kuberay is not None or (self.aws is None) == (self.gcp is None):
            return None
        return "gcp" if self.aws is None else "aws"

    @property
    def outlives_its_head(self) -> bool:
        """Ray's GCS keeps its state where the next one finds it."""
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
            raise ValueError("image must be pinned: `latest` is another one tomorrow")
        return self
