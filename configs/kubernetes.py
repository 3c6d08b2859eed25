"""Pods of a Kubernetes cluster with the KubeRay operator, in which a herd runs.

Decides what an operator may say about them. The manifest is made in `cluster.provision.kuberay`.
"""

from typing import Annotated, Literal

from annotated_types import Ge, Le
from pydantic import Field, StringConstraints

from configs.node_environment import Absolute, Environment, Folder
from configs.strict import Strict

SubDomain = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9-]{0,60}[a-z0-9])?$")]
#: The key of a label, an annotation or a resource: a name, perhaps behind a domain and a slash.
Key = Annotated[str, StringConstraints(pattern=r"^([a-z0-9][a-z0-9.-]{0,99}/)?[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$")]
Label = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.-]{0,63}$")]
Count = Annotated[int, Ge(1), Le(1024)]
Interface = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,14}$")]


class Toleration(Strict):
    """A taint of nodes that pods do not mind."""

    key: Key = Field(description="Nodes have a taint of this name.")
    value: Label | None = Field(None, description="The taint has this value. Default: any.")
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = Field(
        None, description="The taint has this effect. Default: any."
    )


class KubeRay(Strict):
    """Pods of a Kubernetes cluster with the KubeRay operator."""

    workers: int = Field(1, ge=1, le=4096, description="The cluster has this many worker pods.")
    worker_cpus: int = Field(64, ge=1, le=1024, description="A worker pod has this many CPUs.")
    worker_memory_gib: int = Field(512, ge=1, le=16_384, description="A worker pod has this many GiB of memory.")
    head_cpus: int = Field(4, ge=1, le=1024, description="The head's pod has this many CPUs.")
    head_memory_gib: int = Field(16, ge=1, le=16_384, description="The head's pod has this many GiB of memory.")
    secret: SubDomain = Field(
        "herd",
        description="The Kubernetes Secret of this name has the lines of `herd secret --env-file`, the names of `cluster.secrets`, and "
        "`redis-password` if Redis asks for one.",
    )
    claims: dict[Absolute, SubDomain] = Field(
        default_factory=dict,
        description="A folder of `cluster.mounts` is in the PersistentVolumeClaim of this name. Default: it is a folder of the node.",
    )
    cache: Folder | None = Field(
        None,
        description="Worker pods keep the Hub's weights (HF_HOME) and what engines compile (HERD_CACHE) in this folder of their node, "
        "which an init container makes writable. Default: both are gone with the pod.",
    )
    resources: dict[Key, Count] = Field(
        default_factory=dict,
        description="A worker pod has this many of further resources: of RDMA for instance (rdma/…, vpc.amazonaws.com/efa). With those its "
        "container may lock memory.",
    )
    node_selector: dict[Key, Label] = Field(default_factory=dict, description="Worker pods run on nodes with these labels.")
    head_node_selector: dict[Key, Label] = Field(default_factory=dict, description="The head's pod runs on a node with these labels.")
    tolerations: tuple[Toleration, ...] = Field(
        (Toleration(key="nvidia.com/gpu"),),
        description="Worker pods run on nodes with these taints too. Default: the taint that nodes with GPUs usually have.",
    )
    annotations: dict[Key, str] = Field(
        default_factory=dict,
        description="Worker pods have these annotations. A second network for RDMA is named by one: k8s.v1.cni.cncf.io/networks.",
    )
    host_network: bool = Field(False, description="Worker pods use the node's own network if this is true.")
    interface: Interface = Field("eth0", description="The network interface with a pod's address has this name, for gloo and NCCL.")
    image_pull_secrets: tuple[SubDomain, ...] = Field((), description="The image is pulled with these Kubernetes Secrets.")
    service_account: SubDomain | None = Field(None, description="Pods run as this service account. Default: the namespace's own.")
    upgrade: Literal["none", "new-cluster"] = Field(
        "none",
        description="A changed file changes nothing until the pods are deleted (`none`), or brings up a second cluster beside the first "
        "(`new-cluster`), which needs twice the GPUs.",
    )
    pod_monitor: bool = Field(
        False, description="The file has a PodMonitor too if this is true, for the Prometheus operator: Ray's metrics of every pod."
    )
    pod_monitor_labels: dict[Key, Label] = Field(
        default_factory=dict, description="The PodMonitor has these labels, by which a Prometheus finds it: `release: prometheus` often."
    )
    environment: Environment = Field(
        default_factory=dict, description="Ray's processes have these variables too, and they go before those of `cluster.environment`."
    )
