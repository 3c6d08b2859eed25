"""The machines of a herd, from which a Ray cluster is brought up: hosts of your own, AWS, Google Cloud, Kubernetes.

Decides what an operator may say about them; clouds and Kubernetes have modules of their own. Files are made from it in
`cluster.provision`. No secret is ever a field: nodes read it from a file of their own, or run a command that prints it.
"""

import re
from pathlib import PurePosixPath
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints, model_validator

from configs.addresses import PORT
from configs.certificates import Certificates
from configs.clouds import Aws, Gcp
from configs.kubernetes import KubeRay
from configs.node_environment import Command, Device, DockerOption, Environment, Folder, Secrets, twice
from configs.strict import Strict


def _port(place: object) -> object:
    if isinstance(place, str) and (found := re.search(":([0-9]{1,5})$", place)) and not re.fullmatch(PORT, found[1]):
        raise ValueError(f"{place} has a port that cannot be: ports are 1 to 65535")
    return place


def _folders(paths: tuple[str, ...]) -> tuple[str, ...]:
    """Refuses what Docker and Kubernetes refuse when a node starts."""
    plain = [PurePosixPath(path) for path in paths]
    for path, one in zip(paths, plain, strict=True):
        if plain.count(one) > 1:
            raise ValueError(f"{path} is there twice: Docker and Kubernetes take a folder once")
    return paths


#: IPv4, IPv6 or a name; which of them can be a host's is for `configs.cross_checks`.
Address = Annotated[str, StringConstraints(pattern=r"^([A-Za-z0-9]([A-Za-z0-9.-]{0,250}[A-Za-z0-9])?|[0-9A-Fa-f:.]{2,45})$")]
HostPort = Annotated[str, StringConstraints(pattern=rf"^[A-Za-z0-9][A-Za-z0-9.-]{{0,250}}:{PORT}$"), BeforeValidator(_port)]
Image = Annotated[
    str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9.:/_-]{0,200}(:[A-Za-z0-9_][A-Za-z0-9._-]{0,127}|@sha256:[0-9a-f]{64})$")
]
Wheel = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._/+-]{1,200}\.whl$")]
File = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._/~+-]{1,200}$")]
Cloud = Literal["aws", "gcp"]


class OnPrem(Strict):
    """Hosts that are there already, reached by ssh. The head may have GPUs too."""

    head: Address = Field(description="Ray's head runs on the host with this address or name, as the other hosts see it.")
    workers: tuple[Address, ...] = Field((), description="All other hosts have these addresses or names.")
    cache: Folder = Field(
        "/var/lib/llama-herd",
        description="Each host keeps the Hub's weights (HF_HOME) and what engines compile (HERD_CACHE) in this folder of its own disk, "
        "outside of the container. Without a container both are in the user's home.",
    )
    environment: Environment = Field(
        default_factory=dict, description="Ray's processes have these variables too, and they go before those of `cluster.environment`."
    )


class Inventory(Strict):
    """The machines from which `herd cluster emit` makes cluster files. Fields that several providers share stand here."""

    image: Image | None = Field(None, description="Every node runs this container image, pinned by tag or digest. Default: no container.")
    wheel: Wheel | None = Field(
        None, description="This package is installed from a wheel of this path, beside `ray up`. Default: the image or the nodes have it."
    )
    constraints: File = Field("constraints-gpu.txt", description="The wheel is installed with the versions in this file.")
    pull_before_run: bool = Field(
        True, description="A node pulls the image before its container starts if this is true, and only an image that it lacks if not."
    )
    mounts: Annotated[tuple[Folder, ...], AfterValidator(_folders)] = Field(
        (), description="The container sees these folders of the node at the same (absolute) path: weights, secrets."
    )
    devices: tuple[Device, ...] = Field(
        (), description="The container gets these devices of the node too: /dev/gdrdrv for instance, which NVSHMEM (DeepEP) uses."
    )
    rdma: bool | None = Field(
        None,
        description="Containers on hosts of your own get the RDMA devices (/dev/infiniband) if this is true, and a host without them does "
        "not start. Default: containers get them where the host has them.",
    )
    run_options: tuple[DockerOption, ...] = Field(
        (), description="`docker run` gets these further options, one each: --cap-add=SYS_PTRACE for instance."
    )
    environment: Environment = Field(
        default_factory=dict, description="Ray's processes on every node have these variables, as they stand here: nothing is expanded."
    )
    secrets: Secrets = Field(
        default_factory=dict,
        description="Ray's processes on every node have these secrets as variables, HF_TOKEN for instance. A node reads each from a file "
        "or a command when its Ray starts; HERD_REDIS_PASSWORD only the head. None is in a file that is made here, in an argument or "
        "in a log.",
    )
    secret_command: Command = Field(
        "printenv HERD_SECRET",
        description="This command prints the herd's secret on a node (in its container), where HERD_SECRET is not set already.",
    )
    ssh_user: Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_.-]{0,31}$")] = Field(
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
    def _secrets_are_not_plain(self) -> Self:
        sites = (self.onprem, self.aws, self.gcp, self.kuberay)
        if doubled := twice(self.secrets, (self.environment, *(site.environment for site in sites if site is not None))):
            raise ValueError(f"{', '.join(doubled)}: give it under secrets or under environment, not both")
        return self

    @model_validator(mode="after")
    def _claims_are_mounts(self) -> Self:
        claims = () if self.kuberay is None else self.kuberay.claims
        if unknown := [folder for folder in claims if folder not in self.mounts]:
            raise ValueError(f"kuberay.claims names {', '.join(unknown)}, which mounts does not have: add it there")
        return self

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
