"""A Maverick gang: one model over several GPUs and nodes. Whether its ranks are all there, and whether one of them holds the others up."""

from monitoring.panels.promql import MODEL, NODE, NVLINK, NVLINK_BYTES, added, mean, most, or_zero, rate, selected, share
from monitoring.panels.rows import (
    BYTES_A_SECOND,
    COUNT,
    GREEN,
    ORANGE,
    RED,
    REQUESTS,
    SECONDS,
    SHARE,
    TOKENS,
    Dashboard,
    Panel,
    Query,
    Section,
)

_BY_ENGINE = "replica, engine"
_GENERATED = rate("vllm:generation_tokens_total", MODEL, by="model, engine")
_LEGEND = "{{replica}} rank {{engine}}"
_GPU = "{{node}} GPU {{gpu}}"

RANKS = (
    Panel(
        "Ranks that answer · good: all of them, flat",
        "Engines of the model that show their metrics: one for each data-parallel rank. Ranks of tensor parallel are inside of them: if "
        "one of those dies, its engine goes.",
        COUNT,
        (Query(f"count by (model) (count by (model, replica, engine) ({selected('vllm:num_requests_running', MODEL)}))", "{{model}}"),),
        runbook="gang-degraded",
    ),
    Panel(
        "Replicas by state · good: all ready",
        "The gang's replicas by state, as the gateways know them. It starts and stops as one.",
        COUNT,
        (Query(most("herd_replicas", MODEL, by="model, state"), "{{model}} {{state}}"),),
        shape="stacked",
        runbook="gang-degraded",
    ),
    Panel(
        "Phase of the start · good: back to 0",
        "For how long the gang is in a phase of its start. All its nodes read weights at the same time.",
        SECONDS,
        (Query(most("herd_replica_phase_seconds", MODEL, by="model, phase"), "{{model}} {{phase}}"),),
        runbook="start-too-long",
        empty="no start runs",
    ),
)
BALANCE = (
    Panel(
        "Busiest rank over the mean · good: below 1.3",
        "Tokens that the busiest data-parallel rank generates, over the mean of all. As all ranks of a mixture of experts step "
        "together, the busiest sets the pace. vLLM exports no balance of single experts: its own line is in the engine's log (`herd "
        "logs`).",
        COUNT,
        (Query(f"max by (model) ({_GENERATED}) / (avg by (model) ({_GENERATED}) > 0)", "{{model}}"),),
        colours=((1.3, ORANGE), (2, RED)),
    ),
    Panel(
        "Running by rank · good: alike",
        "Requests that each rank computes.",
        COUNT,
        (Query(added("vllm:num_requests_running", MODEL, by=_BY_ENGINE), _LEGEND),),
    ),
    Panel(
        "Waiting by rank · good: 0",
        "Requests that wait inside of each rank. One rank with a line beside idle ones: requests are shared out badly.",
        COUNT,
        (Query(added("vllm:num_requests_waiting", MODEL, by=_BY_ENGINE), _LEGEND),),
        runbook="queue-growing",
    ),
    Panel(
        "Tokens by rank · good: alike",
        "Tokens that each rank generates. 0 beside running requests: the gang hangs, often in a collective operation.",
        TOKENS,
        (Query(rate("vllm:generation_tokens_total", MODEL, by=_BY_ENGINE), _LEGEND),),
        runbook="engine-stuck",
    ),
    Panel(
        "KV cache by rank · good: below 90 %, alike",
        "The part of each rank's KV cache that holds requests.",
        SHARE,
        (Query(most("vllm:kv_cache_usage_perc", MODEL, by=_BY_ENGINE), _LEGEND),),
        colours=((0.9, ORANGE), (0.97, RED)),
        most=1,
        runbook="kv-thrash",
    ),
    Panel(
        "Ranks that idle while others wait · good: 0",
        "Engines without a running request, while others of the model have waiting ones.",
        COUNT,
        (
            Query(
                or_zero(
                    f"count((sum by (model, replica, engine) ({selected('vllm:num_requests_running', MODEL)}) == 0) "
                    f"and on (model) (sum by (model) ({selected('vllm:num_requests_waiting', MODEL)}) > 0))"
                ),
                "idle ranks",
            ),
        ),
        colours=((1, ORANGE),),
        below=GREEN,
    ),
)
LINKS = (
    Panel(
        "NVLink · good: alike on all GPUs of the gang",
        "Bytes a second over each GPU's NVLinks, by DCGM: NCCL's traffic inside of a node. One GPU far below the others holds all of "
        "them up.",
        BYTES_A_SECOND,
        (Query(f"{NVLINK_BYTES} * {added(NVLINK, NODE, by='node, gpu')}", _GPU),),
        runbook="gang-degraded",
    ),
    Panel(
        "Network of nodes · good: alike on the gang's nodes",
        "Bytes a second that each node sends, by Ray: NCCL's traffic between nodes where it goes over IP. InfiniBand and EFA are not in "
        "it.",
        BYTES_A_SECOND,
        (Query(added("ray_node_network_send_speed", NODE, by="node"), "{{node}} sends"),),
    ),
    Panel(
        "Tensor cores · good: alike on all GPUs of the gang",
        "The part of the time that each GPU's tensor cores work. In a gang the slowest GPU is busy all the time, and the others wait "
        "for it: the one that stands out is the one to look at.",
        SHARE,
        (Query(mean("DCGM_FI_PROF_PIPE_TENSOR_ACTIVE", NODE, by="node, gpu"), _GPU),),
        most=1,
        runbook="gang-degraded",
    ),
)

GANG = Dashboard(
    "herd-gang",
    "Herd: Maverick gang",
    "One model over several GPUs and nodes: are its ranks all there, and does one hold the others up?",
    (*RANKS, *BALANCE, *LINKS),
    (
        Section(
            "More of each GPU and rank",
            (
                Panel(
                    "Memory bandwidth · good: high while it generates",
                    "The part of the time that each GPU's memory moves data. Generating is bound by it.",
                    SHARE,
                    (Query(mean("DCGM_FI_PROF_DRAM_ACTIVE", NODE, by="node, gpu"), _GPU),),
                    most=1,
                ),
                Panel(
                    "PCIe · good: far below the link",
                    "Bytes a second from and to each GPU over PCIe. High without NVLink traffic: NCCL goes the slow way.",
                    BYTES_A_SECOND,
                    (
                        Query(added("DCGM_FI_PROF_PCIE_TX_BYTES", NODE, by="node, gpu"), f"{_GPU} sends"),
                        Query(added("DCGM_FI_PROF_PCIE_RX_BYTES", NODE, by="node, gpu"), f"{_GPU} receives"),
                    ),
                ),
                Panel(
                    "Preemptions by rank · good: 0",
                    "Requests a second that each rank threw out of its KV cache.",
                    REQUESTS,
                    (Query(rate("vllm:num_preemptions_total", MODEL, by=_BY_ENGINE), _LEGEND),),
                    runbook="kv-thrash",
                ),
                Panel(
                    "Prefix cache by rank · good: alike",
                    "The part of the prompts' tokens that each rank found in its own cache.",
                    SHARE,
                    (
                        Query(
                            share(
                                rate("vllm:prefix_cache_hits_total", MODEL, by=_BY_ENGINE),
                                rate("vllm:prefix_cache_queries_total", MODEL, by=_BY_ENGINE),
                            ),
                            _LEGEND,
                        ),
                    ),
                    most=1,
                ),
            ),
        ),
    ),
    variables=("model", "node"),
    one_model=True,
)
