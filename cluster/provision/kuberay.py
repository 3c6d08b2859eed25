"""A `RayService` for Kubernetes with the KubeRay operator, out of the same config.

Decides what the pods are. What Ray Serve runs in them is given: it is what `herd up` declares.
"""

from typing import Any

from cluster.provision.ray_start import RECONNECT_S
from configs.inventory import Inventory, KubeRay
from configs.keys import SERVING, VARIABLES

RAY_VERSION = "2.60.0"
REDIS_PASSWORD = "redis-password"


def ray_service(name: str, inventory: Inventory, site: KubeRay, gpus: int, port: int, serve: str) -> dict[str, Any]:
    """The manifest.

    Args:
        name: the herd's.
        inventory: what is shared with other providers; its image has this package in it.
        site: how many pods, and how large.
        gpus: GPUs of a worker.
        port: where the gateways listen.
        serve: Ray Serve's applications, as YAML.
    """
    ray = {
        "rayVersion": RAY_VERSION,
        # The operator makes the token. Its dashboard cannot keep to the loopback interface: the operator itself asks it.
        "authOptions": {"mode": "token"},
        **_redis(inventory, site),
        "headGroupSpec": {
            "rayStartParams": {"num-cpus": "0", "dashboard-host": "0.0.0.0"},
            "template": _pod(inventory, site, "ray-head", {"cpu": str(site.head_cpus), "memory": f"{site.head_memory_gib}Gi"}, port),
        },
        "workerGroupSpecs": [_workers(inventory, site, gpus, port)],
    }
    service = {"serveConfigV2": serve, "excludeHeadPodFromServeSvc": True, "rayClusterConfig": ray}
    return {"apiVersion": "ray.io/v1", "kind": "RayService", "metadata": {"name": name}, "spec": service}


def _redis(inventory: Inventory, site: KubeRay) -> dict[str, Any]:
    if inventory.redis is None:
        return {}
    password = {"valueFrom": {"secretKeyRef": {"name": site.secret, "key": REDIS_PASSWORD, "optional": True}}}
    return {"gcsFaultToleranceOptions": {"redisAddress": inventory.redis, "redisPassword": password}}


def _workers(inventory: Inventory, site: KubeRay, gpus: int, port: int) -> dict[str, Any]:
    resources = {"cpu": str(site.worker_cpus), "memory": f"{site.worker_memory_gib}Gi", "nvidia.com/gpu": str(gpus)}
    pod = _pod(inventory, site, "ray-worker", resources, port)
    # KubeRay would ask Ray Serve's own proxy, which a herd has not: a pod takes requests when its gateway does.
    pod["spec"]["containers"][0]["readinessProbe"] = {
        "httpGet": {"path": "/v1/models", "port": port},
        "periodSeconds": 5,
        "failureThreshold": 2,
    }
    count = {"replicas": site.workers, "minReplicas": site.workers, "maxReplicas": site.workers}
    return {"groupName": "gpu", **count, "rayStartParams": {}, "template": pod}


def _pod(inventory: Inventory, site: KubeRay, name: str, resources: dict[str, str], port: int) -> dict[str, Any]:
    keys = [{"name": VARIABLES[one], "valueFrom": {"secretKeyRef": {"name": site.secret, "key": VARIABLES[one]}}} for one in SERVING]
    reconnect = [{"name": "RAY_gcs_rpc_server_reconnect_timeout_s", "value": str(RECONNECT_S)}] if inventory.outlives_its_head else []
    container = {
        "name": name,
        "image": inventory.image,
        "env": [*keys, *reconnect],
        "ports": [{"containerPort": port, "name": "serve"}],
        "resources": {"limits": resources, "requests": resources},
    }
    return {"spec": {"containers": [container]}}
