"""The cluster files for AWS and Google Cloud: machines, disks, networks, and what their nodes do before Ray starts."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from cluster.catalogue.hardware import NODES
from cluster.planner.config_problems import problems
from cluster.provision.aws import EFA_CARDS
from cluster.provision.disks import FOLDER
from configs.load import parse
from tests.unit.cluster.provision import judges
from tests.unit.cluster.provision.schemas import validator
from tests.unit.cluster.provision.shells import OWN, Shell
from tests.unit.machines import AWS, GCP, ROOT, of_aws, of_gcp

HERD = "models: [{id: a, kind: llama-3-8b, checkpoint: x, context_tokens: 512}]"


def worker_of(made: dict[str, Any]) -> Any:
    return made["available_node_types"]["gpu"]["node_config"]


def head_of(made: dict[str, Any]) -> Any:
    return made["available_node_types"]["head"]["node_config"]


def refusal(section: str, fields: dict[str, Any]) -> str:
    with pytest.raises(ValueError, match=f"cluster.{section}") as refused:
        parse(f"cluster: {{{section}: {json.dumps(fields)}}}\n{HERD}", "herd.yaml", problems)
    return str(refused.value)


def test_each_machine_of_aws_is_one_that_the_planner_knows_and_its_cards_are_counted() -> None:
    assert EFA_CARDS.keys() <= NODES.keys()
    for machine, cards in EFA_CARDS.items():
        interfaces = worker_of(of_aws(machine=machine))["NetworkInterfaces"]
        assert len(interfaces) == cards + 1
        assert {one["NetworkCardIndex"] for one in interfaces} == set(range(cards))


def test_one_interface_has_an_address_and_every_card_has_efa() -> None:
    interfaces = worker_of(of_aws())["NetworkInterfaces"]
    places = [(one["NetworkCardIndex"], one["DeviceIndex"], one["InterfaceType"]) for one in interfaces]
    assert places[:3] == [(0, 0, "interface"), (0, 1, "efa-only"), (1, 0, "efa-only")]
    assert {place[1:] for place in places[2:]} == {(0, "efa-only")}


def test_aws_defaults_to_on_demand() -> None:
    worker = worker_of(of_aws())
    assert not {"InstanceMarketOptions", "CapacityReservationSpecification", "SubnetIds", "SecurityGroupIds", "Placement"} & worker.keys()


def test_aws_says_how_workers_are_paid_for_and_with_which_key() -> None:
    made = of_aws(market="capacity-block", capacity_reservation="cr-1", key_name="k", instance_profile="p")
    worker, head = worker_of(made), head_of(made)
    assert worker["InstanceMarketOptions"] == {"MarketType": "capacity-block"}
    assert worker["CapacityReservationSpecification"] == {"CapacityReservationTarget": {"CapacityReservationId": "cr-1"}}
    assert (worker["KeyName"], head["KeyName"], head["IamInstanceProfile"]) == ("k", "k", {"Name": "p"})
    assert "InstanceMarketOptions" not in head


def test_workers_on_aws_are_near_each_other_and_their_disk_is_as_fast_as_asked() -> None:
    made = of_aws(placement_group="herd", disk_mib_s=1000, disk_iops=4000)
    assert worker_of(made)["Placement"] == {"GroupName": "herd"}
    assert "Placement" not in head_of(made)
    disk = worker_of(made)["BlockDeviceMappings"][0]["Ebs"]
    assert disk == {"VolumeSize": 1000, "VolumeType": "gp3", "Throughput": 1000, "Iops": 4000}


def test_disk_that_aws_would_refuse_is_refused() -> None:
    assert "disk_mib_s: 1000 needs disk_iops: 4000 at least" in refusal("aws", AWS | {"disk_mib_s": 1000})


@pytest.mark.parametrize("fields", [{}, {"placement_group": "herd", "disk_mib_s": 1000, "disk_iops": 4000, "machine": "p5en.48xlarge"}])
def test_aws_own_model_takes_the_machines(fields: dict[str, Any]) -> None:
    made = of_aws(**fields)
    for config in (worker_of(made), head_of(made)):
        judges.aws_machine(config)


@pytest.mark.parametrize("machine", ["a3-highgpu-8g", "a3-megagpu-8g"])
def test_machines_of_google_that_cannot_do_gpudirect_from_this_file_are_refused_with_a_way_out(machine: str) -> None:
    said = refusal("gcp", GCP | {"machine": machine})
    assert f"cluster.gcp.machine: {machine} moves data between GPUs" in said
    assert "take a3-ultragpu-8g here, or GKE" in said


def test_google_gets_disks_that_its_machines_take() -> None:
    made = of_gcp(disk_mib_s=1200, disk_iops=10_000)
    (worker,), (head,) = worker_of(made)["disks"], head_of(made)["disks"]
    assert worker["initializeParams"]["diskType"] == "zones/us-central1-a/diskTypes/hyperdisk-balanced"
    assert (worker["initializeParams"]["provisionedThroughput"], worker["initializeParams"]["provisionedIops"]) == ("1200", "10000")
    assert head["initializeParams"]["diskType"] == "zones/us-central1-a/diskTypes/pd-balanced", "N2 takes no Hyperdisk"


@pytest.mark.parametrize(
    "fields",
    [{}, {"spot": True, "reservation": "r", "service_account": "a@b.iam.gserviceaccount.com"}, {"disk_mib_s": 500, "disk_iops": 3000}],
)
def test_googles_own_schema_takes_the_machines(fields: dict[str, Any]) -> None:
    schema, made = validator(judges.INSTANCE), of_gcp(**fields)
    for config in (worker_of(made), head_of(made)):
        schema.validate(config)
    with pytest.raises(jsonschema.ValidationError, match="diskKind"):
        schema.validate({"disks": [{"initializeParams": {"diskKind": "pd-balanced"}}]})


def test_committed_file_for_google_is_taken_by_its_schema() -> None:
    made = yaml.safe_load((ROOT / "cluster/ray/gcp.yaml").read_text(encoding="utf-8"))
    for kind in made["available_node_types"].values():
        validator(judges.INSTANCE).validate(kind["node_config"])


def test_interfaces_for_googles_gpus_are_of_their_own_kind() -> None:
    assert [one["nicType"] for one in worker_of(of_gcp())["networkInterfaces"]] == ["GVNIC", "GVNIC", "MRDMA", "MRDMA"]
    assert worker_of(of_gcp(spot=True))["scheduling"]["provisioningModel"] == "SPOT"


def test_gcp_sources_the_machines_own_profile() -> None:
    made = of_gcp()
    lines = made["worker_start_ray_commands"][-1].splitlines()
    assert "source /usr/local/gib/scripts/set_nccl_env.sh" in lines
    assert "NCCL_NET" not in json.dumps(made)
    assert "set_nccl_env" not in made["head_start_ray_commands"][-1]


@pytest.mark.parametrize("made", [of_aws(shared={"image": "a:1"}), of_gcp(shared={"image": "a:1"})], ids=["aws", "gcp"])
def test_weights_are_on_the_machines_own_disks_and_outlive_the_container(made: dict[str, Any]) -> None:
    (prepared,) = made["available_node_types"]["gpu"]["initialization_commands"]
    assert "mdadm --create" in prepared
    assert "initialization_commands" not in made["available_node_types"]["head"]
    assert f"--volume={FOLDER}:{FOLDER}" in made["docker"]["worker_run_options"]
    assert f'export HF_HOME="${{HF_HOME:-{FOLDER}/huggingface}}"' in made["worker_start_ray_commands"][-1].splitlines()
    assert "HF_HOME" not in made["head_start_ray_commands"][-1]


@pytest.mark.parametrize("build", [of_aws, of_gcp])
def test_folder_that_the_config_names_for_all_nodes_goes_before_the_machines_own(build: Callable[..., dict[str, Any]]) -> None:
    start = build(shared={"image": "a:1", "environment": {"HF_HOME": "/models/hub"}})["worker_start_ray_commands"][-1].splitlines()
    assert [line for line in start if "HF_HOME" in line][-1] == "export HF_HOME=/models/hub"
    assert f'export HERD_CACHE="${{HERD_CACHE:-{FOLDER}/llama-herd}}"' in start


def test_weights_are_on_the_first_disk_where_the_others_are_not_wanted() -> None:
    for made in (of_aws(instance_store=False), of_gcp(instance_store=False)):
        (prepared,) = made["available_node_types"]["gpu"]["initialization_commands"]
        assert "mdadm" not in prepared
        assert "chown 1000:1000" in prepared


#: Programs of a machine, each of which tells how it was called.
TOOLS = {
    "sudo": '#!/bin/sh\nexec "$@"\n',
    "lsblk": "#!/bin/sh\nprintf '/dev/nvme0n1 Amazon Elastic Block Store\\n/dev/nvme1n1 Amazon EC2 NVMe Instance Storage\\n"
    "/dev/nvme2n1 Amazon EC2 NVMe Instance Storage\\n'\n",
    "mountpoint": '#!/bin/sh\ngrep -qx "$2" "$HOME/mounted"\n',
    **{name: f'#!/bin/sh\necho "{name} $*" >> "$HOME/done"\n' for name in ("mdadm", "mkfs.ext4", "mkdir", "chown", "mount")},
    "blkid": "#!/bin/sh\nexit 2\n",
}


JOINED = [
    "mdadm --create /dev/md/herd --homehost=any --level=0 --force --run --raid-devices=2 /dev/nvme1n1 /dev/nvme2n1",
    "mkfs.ext4 -q -E lazy_itable_init=1,nodiscard /dev/md/herd",
    "mkdir -p /mnt/herd",
    "mount -o noatime /dev/md/herd /mnt/herd",
]
BOUND = ["mkdir -p /opt/dlami/nvme/herd /mnt/herd", "mount --bind /opt/dlami/nvme/herd /mnt/herd"]


@pytest.mark.parametrize(
    ("mounted", "done"),
    [("", JOINED), ("/mnt/herd\n", []), ("/opt/dlami/nvme\n", BOUND)],
    ids=["a new machine", "a second ray up", "an image that has joined them"],
)
def test_disks_of_a_machine_become_one_once(shell: Shell, tmp_path: Path, mounted: str, done: list[str]) -> None:
    for name, script in TOOLS.items():
        (tmp_path / name).write_text(script)
        (tmp_path / name).chmod(0o755)
    (tmp_path / "mounted").write_text(mounted)
    (prepared,) = of_aws()["available_node_types"]["gpu"]["initialization_commands"]
    assert shell(prepared).returncode == 0
    folders = "/mnt/herd/huggingface /mnt/herd/llama-herd"
    assert (tmp_path / "done").read_text().splitlines() == [*done, f"mkdir -p {folders}", f"chown 1000:1000 {folders}"]


@pytest.mark.parametrize(
    ("fi_info", "ldd", "sentence"),
    [
        ("exit 1", "", "EFA cannot be used here"),
        ("exit 0", "libhwloc.so.15 => not found", "EFA's NCCL plugin lacks libhwloc.so.15"),
        ("exit 0", "libhwloc.so.15 => /usr/lib/libhwloc.so.15", None),
    ],
)
def test_node_whose_container_cannot_use_efa_does_not_start(shell: Shell, fi_info: str, ldd: str, sentence: str | None) -> None:
    """NCCL would fall back to sockets, and say so in a log that nobody reads."""
    tools = {"fi_info": f"#!/bin/sh\n{fi_info}\n", "ldd": f"#!/bin/sh\necho '{ldd}'\n"}
    for name, script in tools.items():
        (shell.folder / name).write_text(script)
        (shell.folder / name).chmod(0o755)
    script = of_aws()["worker_start_ray_commands"][-1].replace("/opt/amazon/efa/bin/", "")
    done = shell(script, HERD_SECRET=OWN)
    assert (done.returncode, bool(done.stdout)) == ((0, True) if sentence is None else (1, False))
    assert sentence is None or sentence in done.stderr
    assert "libhwloc15, see cluster/README.md" in done.stderr or sentence is None


def test_libraries_of_efa_are_the_images_own_unless_the_machines_are_asked_for() -> None:
    image = of_aws(shared={"image": "a:1"})["docker"]["worker_run_options"]
    machine = of_aws(shared={"image": "a:1"}, efa_libraries="machine")["docker"]["worker_run_options"]
    assert not [option for option in image if "/opt/amazon" in option]
    assert "--volume=/opt/amazon:/opt/amazon:ro" in machine
    assert "--device=/dev/infiniband" in image


def test_trap_24_gateways_keep_no_machine_alive_that_ray_would_give_back() -> None:
    """Each node has a gateway, so that none is ever idle: the herd's files ask for machines of a number that stays."""
    for made in (of_aws(), of_gcp()):
        gpu = made["available_node_types"]["gpu"]
        assert gpu["min_workers"] == gpu["max_workers"] == made["max_workers"]
