"""A `RayService` for Kubernetes with the KubeRay operator, out of the same config.

Decides what the pods are, and where they may run. What Ray Serve runs in them is given: it is what `herd up` declares.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from cluster.provision import disks
from cluster.provision.ray_start import RECONNECT_S
from configs.inventory import Inventory
from configs.keys import SERVING, VARIABLES
from configs.kubernetes import KubeRay, Toleration
from configs.node_environment import REDIS_PASSWORD as REDIS_VARIABLE

RAY_VERSION = "2.60.0"
REDIS_PASSWORD = "redis-password"
#: A resource of RDMA has one of these in its name, whoever made the device plugin.
OF_RDMA = ("rdma", "/efa", "/ib", "infiniband", "roce")


@dataclass(frozen=True, slots=True)
class Served:
    """Returns the config that the pods serve."""

    gpus: int
    """Of a worker."""
    port: int
    """Where the gateways listen."""
    applications: str
    """Ray Serve's, as YAML."""


def ray_service(name: str, inventory: Inventory, site: KubeRay, served: Served) -> dict[str, Any]:
    """Returns the manifest of the herd `name`; the inventory's image has this package in it."""
    ray = {
        "rayVersion": RAY_VERSION,
        # The operator makes the token. Its dashboard cannot keep to the loopback interface: the operator itself asks it.
        "authOptions": {"mode": "token"},
        **_redis(inventory, site),
        "headGroupSpec": {
            "rayStartParams": {"num-cpus": "0", "dashboard-host": "0.0.0.0"},
            "template": _head(inventory, site, served),
        },
        "workerGroupSpecs": [_workers(inventory, site, served)],
    }
    upgrade = {"none": "None", "new-cluster": "NewCluster"}[site.upgrade]
    service = {
        "upgradeStrategy": {"type": upgrade},
        "serveConfigV2": served.applications,
        "excludeHeadPodFromServeSvc": True,
        "rayClusterConfig": ray,
    }
    return {"apiVersion": "ray.io/v1", "kind": "RayService", "metadata": {"name": name}, "spec": service}


def pod_monitor(name: str, site: KubeRay) -> dict[str, Any]:
    """Returns the manifest that has the Prometheus operator collect Ray's metrics from every pod of the herd `name`."""
    # KubeRay gives each pod of a service's cluster these labels, and its container a port `metrics`.
    selector = {
        "matchLabels": {"ray.io/is-ray-node": "yes", "ray.io/originated-from-crd": "RayService", "ray.io/originated-from-cr-name": name}
    }
    labels = [{"sourceLabels": ["__meta_kubernetes_pod_label_ray_io_cluster"], "targetLabel": "ray_io_cluster"}]
    endpoints = [{"port": "metrics", "relabelings": labels}]
    return {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PodMonitor",
        "metadata": {"name": name, **({"labels": dict(site.pod_monitor_labels)} if site.pod_monitor_labels else {})},
        "spec": {"selector": selector, "podMetricsEndpoints": endpoints},
    }


def _redis(inventory: Inventory, site: KubeRay) -> dict[str, Any]:
    if inventory.redis is None:
        return {}
    password = {"valueFrom": {"secretKeyRef": {"name": site.secret, "key": REDIS_PASSWORD, "optional": True}}}
    return {"gcsFaultToleranceOptions": {"redisAddress": inventory.redis, "redisPassword": password}}


def _head(inventory: Inventory, site: KubeRay, served: Served) -> dict[str, Any]:
    resources = {"cpu": str(site.head_cpus), "memory": f"{site.head_memory_gib}Gi"}
    spec = {
        "containers": [_container(inventory, site, "ray-head", resources, served.port)],
        **_of_both(inventory, site, _folders(inventory, None)),
    }
    return {"spec": spec | ({"nodeSelector": dict(site.head_node_selector)} if site.head_node_selector else {})}


def _workers(inventory: Inventory, site: KubeRay, served: Served) -> dict[str, Any]:
    further = {name: str(count) for name, count in site.resources.items()}
    resources = {"cpu": str(site.worker_cpus), "memory": f"{site.worker_memory_gib}Gi", "nvidia.com/gpu": str(served.gpus), **further}
    folders = _folders(inventory, site.cache)
    container = {
        **_container(inventory, site, "ray-worker", resources, served.port, site.cache),
        # KubeRay would ask Ray Serve's own proxy, which a herd has not: a pod takes requests when its gateway does.
        "readinessProbe": {"httpGet": {"path": "/v1/models", "port": served.port}, "periodSeconds": 5, "failureThreshold": 2},
    }
    if any(word in name for name in site.resources for word in OF_RDMA):
        container["securityContext"] = {"capabilities": {"add": ["IPC_LOCK"]}}
    spec = {
        **_cache_made(inventory, site.cache, folders),
        "containers": [container],
        **_of_both(inventory, site, folders),
        "tolerations": [_toleration(one) for one in site.tolerations],
        **({"nodeSelector": dict(site.node_selector)} if site.node_selector else {}),
        **({"hostNetwork": True, "dnsPolicy": "ClusterFirstWithHostNet"} if site.host_network else {}),
    }
    pod = {**({"metadata": {"annotations": dict(site.annotations)}} if site.annotations else {}), "spec": spec}
    count = {"replicas": site.workers, "minReplicas": site.workers, "maxReplicas": site.workers}
    return {"groupName": "gpu", **count, "rayStartParams": {}, "template": pod}


def _toleration(one: Toleration) -> dict[str, str]:
    taint = {"operator": "Exists"} if one.value is None else {"operator": "Equal", "value": one.value}
    return {"key": one.key, **taint, **({} if one.effect is None else {"effect": one.effect})}


def _folders(inventory: Inventory, cache: str | None) -> tuple[str, ...]:
    """Returns the folders of a pod: those of all pods, and the cache where it is none of them."""
    if cache is None or _same(cache, inventory.mounts) is not None:
        return inventory.mounts
    return (*inventory.mounts, cache)


def _same(folder: str, folders: Sequence[str]) -> int | None:
    """Returns which of these is the folder, however it is written."""
    return next((index for index, one in enumerate(folders) if PurePosixPath(one) == PurePosixPath(folder)), None)


def _cache_made(inventory: Inventory, cache: str | None, folders: Sequence[str]) -> dict[str, Any]:
    """Returns the container that goes before Ray's and makes the cache its user's: a folder that Kubernetes makes is root's."""
    if cache is None:
        return {}
    user = str(disks.CONTAINER_USER)
    made = {
        "name": "cache",
        "image": inventory.image,
        "command": ["install", "-d", "-o", user, "-g", user, *disks.environment(cache).values()],
        "securityContext": {"runAsUser": 0},
        "volumeMounts": [{"name": f"mount-{_same(cache, folders)}", "mountPath": cache}],
    }
    return {"initContainers": [made]}


def _of_both(inventory: Inventory, site: KubeRay, folders: Sequence[str]) -> dict[str, Any]:
    """Returns the parts that head and workers share: folders, and the right to the image."""
    volumes = [_volume(index, folder, site) for index, folder in enumerate(folders)]
    return {
        **({"volumes": volumes} if volumes else {}),
        **({"imagePullSecrets": [{"name": name} for name in site.image_pull_secrets]} if site.image_pull_secrets else {}),
        **({} if site.service_account is None else {"serviceAccountName": site.service_account}),
    }


def _volume(index: int, folder: str, site: KubeRay) -> dict[str, Any]:
    if folder in site.claims:
        return {"name": f"mount-{index}", "persistentVolumeClaim": {"claimName": site.claims[folder]}}
    made = {"type": "DirectoryOrCreate"} if folder == site.cache else {}
    return {"name": f"mount-{index}", "hostPath": {"path": folder, **made}}


def _container(
    inventory: Inventory, site: KubeRay, name: str, resources: dict[str, str], port: int, cache: str | None = None
) -> dict[str, Any]:
    mounts = [{"name": f"mount-{index}", "mountPath": folder} for index, folder in enumerate(_folders(inventory, cache))]
    return {
        "name": name,
        "image": inventory.image,
        "imagePullPolicy": "Always" if inventory.pull_before_run else "IfNotPresent",
        "env": _environment(inventory, site, {} if cache is None else disks.environment(cache)),
        "ports": [{"containerPort": port, "name": "serve"}],
        **({"volumeMounts": mounts} if mounts else {}),
        "resources": {"limits": resources, "requests": resources},
    }


def _environment(inventory: Inventory, site: KubeRay, own: Mapping[str, str]) -> list[dict[str, Any]]:
    """Kubernetes replaces `$(NAME)` in a value, and takes `$$` for `$`. The operator gives Redis its password itself."""
    secrets = [VARIABLES[one] for one in SERVING] + [name for name in inventory.secrets if name != REDIS_VARIABLE]
    network = {f"{library}_SOCKET_IFNAME": site.interface for library in ("GLOO", "NCCL", "TP")}
    reconnect = {"RAY_gcs_rpc_server_reconnect_timeout_s": str(RECONNECT_S)} if inventory.outlives_its_head else {}
    plain = network | dict(own) | inventory.environment | site.environment | reconnect
    return [
        *({"name": name, "valueFrom": {"secretKeyRef": {"name": site.secret, "key": name}}} for name in secrets),
        {"name": "VLLM_HOST_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
        *({"name": name, "value": value.replace("$", "$$")} for name, value in plain.items()),
    ]
