"""The file for the KubeRay operator, against its own definition of a RayService and against Kubernetes' of a pod."""

from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from cluster.planner.config_problems import problems
from cluster.provision.kuberay import RAY_VERSION, Served, ray_service
from configs.gateway_config import GatewayConfig
from configs.load import parse
from tests.unit.cluster.provision.judges import ray_service as ray_service_is_taken
from tests.unit.machines import ROOT, emit, inventory

SITE = {
    "claims": {"/models": "weights"},
    "resources": {"rdma/hca": 8},
    "node_selector": {"nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3"},
    "head_node_selector": {"pool": "system"},
    "tolerations": [{"key": "nvidia.com/gpu"}, {"key": "team", "value": "herd", "effect": "NoExecute"}],
    "annotations": {"k8s.v1.cni.cncf.io/networks": "roce-0,roce-1"},
    "host_network": True,
    "interface": "bond0",
    "image_pull_secrets": ["registry"],
    "service_account": "herd",
    "upgrade": "new-cluster",
    "environment": {"NCCL_IB_HCA": "mlx5", "PRICE": "$(HOME) costs $5"},
}
SHARED = {
    "image": "a:1",
    "mounts": ["/models", "/scratch"],
    "pull_before_run": False,
    "redis": "redis:6379",
    "environment": {"NCCL_DEBUG": "INFO", "NCCL_IB_HCA": "of all"},
    "secrets": {"HF_TOKEN": {"file": "/var/lib/herd/hf-token"}, "HERD_REDIS_PASSWORD": {"command": "cat /p"}},
}


def made(shared: dict[str, Any] | None = None, **site: Any) -> dict[str, Any]:
    given = inventory(**{"image": "a:1", **(shared or {})}, kuberay=site)
    assert given.kuberay is not None
    return ray_service("herd", given, given.kuberay, Served(8, 8000, ""))


def pods(manifest: dict[str, Any]) -> tuple[Any, Any]:
    """What is in the templates of the head and of a worker."""
    ray = manifest["spec"]["rayClusterConfig"]
    return ray["headGroupSpec"]["template"]["spec"], ray["workerGroupSpecs"][0]["template"]["spec"]


def environment(pod: Any) -> dict[str, Any]:
    return {one["name"]: one.get("value", one.get("valueFrom")) for one in pod["containers"][0]["env"]}


def test_operator_takes_the_ray_service() -> None:
    manifest = yaml.safe_load((ROOT / "cluster/ray/kuberay.yaml").read_text(encoding="utf-8"))
    ray_service_is_taken(manifest)
    applications = yaml.safe_load(manifest["spec"]["serveConfigV2"])["applications"]
    assert [one["import_path"] for one in applications] == [
        "deployments.lifecycle.applications:engine",
        "deployments.lifecycle.applications:gateway",
    ]
    told = GatewayConfig.model_validate(applications[-1]["deployments"][0]["user_config"])
    assert told.cloud is None, "its hosts are nobody's cloud"
    manifest["spec"]["rayClusterConfig"]["authOption"] = {}
    with pytest.raises(jsonschema.ValidationError, match="authOption"):
        ray_service_is_taken(manifest)


@pytest.mark.parametrize("site", [{}, SITE], ids=["nothing", "everything"])
def test_kubernetes_takes_what_comes_of_any_inventory(site: dict[str, Any]) -> None:
    ray_service_is_taken(made(SHARED if site else None, **site))


def test_misspelt_field_of_a_pod_is_noticed() -> None:
    manifest = made()
    pods(manifest)[1]["toleration"] = []
    with pytest.raises(jsonschema.ValidationError, match="toleration"):
        ray_service_is_taken(manifest)


def test_ray_service_has_the_version_that_is_installed_and_no_redis_unasked() -> None:
    ray = made()["spec"]["rayClusterConfig"]
    assert f'"ray[serve]=={RAY_VERSION}"' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert ray["rayVersion"] == RAY_VERSION
    assert "gcsFaultToleranceOptions" not in ray


def test_folders_are_claims_or_the_nodes_own_on_every_pod() -> None:
    for pod in pods(made(SHARED, **SITE)):
        assert pod["volumes"] == [
            {"name": "mount-0", "persistentVolumeClaim": {"claimName": "weights"}},
            {"name": "mount-1", "hostPath": {"path": "/scratch"}},
        ]
        assert pod["containers"][0]["volumeMounts"] == [
            {"name": "mount-0", "mountPath": "/models"},
            {"name": "mount-1", "mountPath": "/scratch"},
        ]
        assert pod["containers"][0]["imagePullPolicy"] == "IfNotPresent"
        assert (pod["imagePullSecrets"], pod["serviceAccountName"]) == ([{"name": "registry"}], "herd")
    assert "volumes" not in pods(made())[0]


def test_worker_keeps_weights_and_compiled_code_on_its_node_and_may_write_there() -> None:
    head, worker = pods(made(SHARED, **SITE, cache="/raid/herd"))
    assert worker["volumes"][2] == {"name": "mount-2", "hostPath": {"path": "/raid/herd", "type": "DirectoryOrCreate"}}
    (first,), (container,) = worker["initContainers"], worker["containers"]
    folders = ["/raid/herd/huggingface", "/raid/herd/llama-herd"]
    assert first["command"] == ["install", "-d", "-o", "1000", "-g", "1000", *folders], "the folder itself may be others' too"
    assert (first["image"], first["securityContext"]) == (container["image"], {"runAsUser": 0})
    assert first["volumeMounts"] == [container["volumeMounts"][2]] == [{"name": "mount-2", "mountPath": "/raid/herd"}]
    assert {"name": "HF_HOME", "value": "/raid/herd/huggingface"} in container["env"]
    assert {"name": "HERD_CACHE", "value": "/raid/herd/llama-herd"} in container["env"]
    assert len(head["volumes"]) == 2
    assert not {"initContainers"} & head.keys()
    assert "HF_HOME" not in [one["name"] for one in head["containers"][0]["env"]]


def test_cache_that_is_a_mount_already_is_one_volume() -> None:
    _, worker = pods(made(SHARED, **SITE, cache="/scratch/"))
    assert [one["mountPath"] for one in worker["containers"][0]["volumeMounts"]] == ["/models", "/scratch"]
    assert worker["initContainers"][0]["volumeMounts"] == [{"name": "mount-1", "mountPath": "/scratch/"}]


def test_claim_of_a_folder_that_is_no_mount_is_refused() -> None:
    models = "models: [{id: a, kind: llama-3-8b, checkpoint: x, context_tokens: 512}]"
    text = f"cluster: {{image: 'a:1', kuberay: {{claims: {{/models: weights}}}}}}\n{models}"
    with pytest.raises(ValueError, match=r"kuberay\.claims names /models, which mounts does not have"):
        parse(text, "herd.yaml", problems)


def test_workers_run_where_the_gpus_are_and_the_head_does_not() -> None:
    head, worker = pods(made(SHARED, **SITE))
    assert worker["tolerations"] == [
        {"key": "nvidia.com/gpu", "operator": "Exists"},
        {"key": "team", "operator": "Equal", "value": "herd", "effect": "NoExecute"},
    ]
    assert worker["nodeSelector"] == SITE["node_selector"]
    assert (head["nodeSelector"], "tolerations" in head) == ({"pool": "system"}, False)
    assert pods(made())[1]["tolerations"] == [{"key": "nvidia.com/gpu", "operator": "Exists"}]


def test_worker_gets_rdma_and_may_lock_memory() -> None:
    head, worker = pods(made(SHARED, **SITE))
    (container,) = worker["containers"]
    assert container["resources"]["limits"]["rdma/hca"] == "8"
    assert container["securityContext"] == {"capabilities": {"add": ["IPC_LOCK"]}}
    assert (worker["hostNetwork"], worker["dnsPolicy"]) == (True, "ClusterFirstWithHostNet")
    annotations = made(SHARED, **SITE)["spec"]["rayClusterConfig"]["workerGroupSpecs"][0]["template"]["metadata"]["annotations"]
    assert annotations == SITE["annotations"]
    assert "securityContext" not in head["containers"][0]
    assert "securityContext" not in pods(made(resources={"example.com/fpga": 1}))[1]["containers"][0]


def test_secrets_come_from_a_secret_and_plain_variables_stay_as_they_are() -> None:
    head, worker = (environment(pod) for pod in pods(made(SHARED, **SITE)))
    for found in (head, worker):
        assert found["HF_TOKEN"] == {"secretKeyRef": {"name": "herd", "key": "HF_TOKEN"}}
        assert "HERD_REDIS_PASSWORD" not in found, "the operator gives it to the head itself"
        assert (found["NCCL_DEBUG"], found["NCCL_IB_HCA"]) == ("INFO", "mlx5")
        assert found["PRICE"] == "$$(HOME) costs $$5", "Kubernetes makes one of two"
    assert worker["VLLM_HOST_IP"] == {"fieldRef": {"fieldPath": "status.podIP"}}
    assert {worker[f"{one}_SOCKET_IFNAME"] for one in ("GLOO", "NCCL", "TP")} == {"bond0"}


@pytest.mark.parametrize(("said", "meant"), [("none", "None"), ("new-cluster", "NewCluster")])
def test_upgrade_takes_twice_the_gpus_only_where_it_is_asked_for(said: str, meant: str) -> None:
    assert made(upgrade=said)["spec"]["upgradeStrategy"] == {"type": meant}
    assert made()["spec"]["upgradeStrategy"] == {"type": "None"}


def test_prometheus_operator_finds_the_pods(tmp_path: Any) -> None:
    herd = tmp_path / "herd.yaml"
    herd.write_text(
        "cluster: {image: 'a:1', kuberay: {pod_monitor: true, pod_monitor_labels: {release: prometheus}}}\n"
        "gateway: {host: 0.0.0.0}\nmodels: [{id: a, kind: llama-3-8b, checkpoint: x, context_tokens: 512}]"
    )
    service, monitor = yaml.safe_load_all(emit(str(herd), "--provider", "kuberay").stdout)
    ray_service_is_taken(service)
    assert (monitor["kind"], monitor["metadata"]) == ("PodMonitor", {"name": "herd", "labels": {"release": "prometheus"}})
    assert monitor["spec"]["selector"]["matchLabels"]["ray.io/originated-from-cr-name"] == service["metadata"]["name"]
    assert monitor["spec"]["podMetricsEndpoints"][0]["port"] == "metrics", "KubeRay's own name of it"


def test_trap_24_pods_are_of_a_number_that_stays() -> None:
    (group,) = made()["spec"]["rayClusterConfig"]["workerGroupSpecs"]
    assert group["minReplicas"] == group["replicas"] == group["maxReplicas"]


#: Legal by itself; its KV cache cannot be handed to an engine of 8.
WIDE = {"tensor": 20, "across_nodes": True}


def refused(folder: Path, model: dict[str, Any]) -> str:
    herd = folder / "herd.yaml"
    of = {"id": "a", "kind": "llama-4-maverick", "quantization": "fp8", "checkpoint": "x", "context_tokens": 512} | model
    site = {"cluster": {"image": "a:1", "kuberay": {}}, "gateway": {"host": "0.0.0.0"}, "models": [of]}
    herd.write_text(yaml.safe_dump(site), encoding="utf-8")
    done = emit(str(herd), "--provider", "kuberay")
    assert done.exit_code == 3
    return str(done.stderr)


@pytest.mark.parametrize(
    ("model", "sentence"),
    [
        ({"parallel": "auto"}, "models: a: parallel: auto needs a GPU to choose for"),
        ({"accelerator": "H200", "parallel": {"tensor": 8}, "prefill": {"parallel": WIDE}}, "a KV cache cannot go from 20 GPUs to 8"),
        ({"checkpoint": "small:llama-4-maverick-tiny"}, "models[0].checkpoint: is built by `herd up`, and pods start without it"),
    ],
)
def test_what_herd_up_would_refuse_or_make_is_refused_for_pods(tmp_path: Path, model: dict[str, Any], sentence: str) -> None:
    """They start what the file says, and nobody looks at it before."""
    assert sentence in refused(tmp_path, model)
