"""GPU nodes: their GPUs by DCGM, and themselves by Ray."""

from monitoring.panels.promql import NODE, NVLINK, NVLINK_BYTES, added, mean, most, or_zero, rate, selected
from monitoring.panels.rows import BYTES_A_SECOND, COUNT, GPUS, ORANGE, RED, SHARE, Dashboard, Panel, Query, Section

_BY, _GPU = "node, gpu", "{{node}} GPU {{gpu}}"
_USED, _FREE = (added(f"DCGM_FI_DEV_FB_{name}", NODE, by=_BY) for name in ("USED", "FREE"))

NUMBERS = (
    Panel(
        "Nodes by health · good: all alive",
        "Nodes of the cluster by their health. `dead`: died within the last hour, and has not come back.",
        COUNT,
        (Query(most("herd_nodes", by="health"), "{{health}}"),),
        shape="number",
        width=8,
        runbook="node-sick",
    ),
    Panel(
        "GPUs with an XID error · good: 0",
        "GPUs whose last XID error is not 0. DCGM keeps the last one until its exporter starts again: look at *Last XID error* for when "
        "it came.",
        COUNT,
        (Query(or_zero(f"count({selected('DCGM_FI_DEV_XID_ERRORS', NODE)} > 0)"), "GPUs"),),
        shape="number",
        colours=((1, RED),),
        width=8,
        runbook="gpu-xid",
    ),
    Panel(
        "GPUs · good: some free",
        "GPUs of the cluster, held by replicas and free.",
        GPUS,
        (Query(most("herd_gpus", by="use"), "{{use}}"),),
        shape="number",
        width=8,
    ),
)
ENGINE = (
    Panel(
        "Memory bandwidth · good: high under load",
        "The part of the time that a GPU's memory moves data. It is what generating tokens is bound by; `GPU utilisation` is not.",
        SHARE,
        (Query(mean("DCGM_FI_PROF_DRAM_ACTIVE", NODE, by=_BY), _GPU),),
        most=1,
        width=8,
    ),
    Panel(
        "Tensor cores · good: high under load",
        "The part of the time that a GPU's tensor cores work. Prompts are bound by them.",
        SHARE,
        (Query(mean("DCGM_FI_PROF_PIPE_TENSOR_ACTIVE", NODE, by=_BY), _GPU),),
        most=1,
        width=8,
    ),
    Panel(
        "Memory in use · good: as planned, flat",
        "The part of each GPU's memory that is in use. vLLM takes its part when it starts. A GPU near 100 % has another process on it, "
        "or a plan without a margin.",
        SHARE,
        (Query(f"{_USED} / ({_USED} + {_FREE})", _GPU),),
        colours=((0.97, ORANGE), (0.99, RED)),
        most=1,
        width=8,
    ),
    Panel(
        "Temperature · good: below 80 °C",
        "Temperature of each GPU. Above the limit of its kind it slows down: compare *Clock*.",
        "celsius",
        (Query(most("DCGM_FI_DEV_GPU_TEMP", NODE, by=_BY), _GPU),),
        colours=((80, ORANGE), (87, RED)),
        runbook="node-sick",
        width=8,
    ),
    Panel(
        "Power · good: below the GPU's limit",
        "Power that each GPU takes now, of what its limit allows.",
        "watt",
        (Query(added("DCGM_FI_DEV_POWER_USAGE", NODE, by=_BY), _GPU),),
        width=8,
    ),
    Panel(
        "Clock · good: alike under load",
        "Clock of each GPU's processors. One below the others under the same load is throttled: heat, power, or a fault.",
        "hertz",
        (Query(f"1e6 * {mean('DCGM_FI_DEV_SM_CLOCK', NODE, by=_BY)}", _GPU),),
        runbook="node-sick",
        width=8,
    ),
)
FAULTS = (
    Panel(
        "Last XID error · good: 0",
        "Number of each GPU's last XID error, by the driver. 13, 31, 43, 45: often a process's fault. 48, 63, 64, 74, 79, 94, 95: "
        "hardware.",
        COUNT,
        (Query(most("DCGM_FI_DEV_XID_ERRORS", NODE, by=_BY), _GPU),),
        colours=((1, RED),),
        runbook="gpu-xid",
        width=8,
    ),
    Panel(
        "Memory rows remapped · good: flat",
        "Rows of memory that each GPU has replaced because of errors that could not be corrected. It grows: plan the GPU's exchange.",
        COUNT,
        (Query(most("DCGM_FI_DEV_UNCORRECTABLE_REMAPPED_ROWS", NODE, by=_BY), _GPU),),
        colours=((1, ORANGE),),
        runbook="node-sick",
        width=8,
    ),
    Panel(
        "PCIe replays · good: 0",
        "Transfers a second that had to be sent again. Above 0: a slot, a riser or a cable.",
        "cps",
        (Query(rate("DCGM_FI_DEV_PCIE_REPLAY_COUNTER", NODE, by=_BY), _GPU),),
        colours=((1, ORANGE),),
        runbook="node-sick",
        width=8,
    ),
)

GPU_NODES = Dashboard(
    "herd-gpu-nodes",
    "Herd: GPU nodes",
    "The machines: their GPUs by DCGM's exporter, and themselves by Ray.",
    (*NUMBERS, *ENGINE, *FAULTS),
    (
        Section(
            "More of the GPUs",
            (
                Panel(
                    "GPU utilisation · good: above 0 under load",
                    "The part of the time that anything ran on a GPU. It is near 100 % with one request already: use it to find idle "
                    "GPUs only.",
                    SHARE,
                    (Query(f"{mean('DCGM_FI_DEV_GPU_UTIL', NODE, by=_BY)} / 100", _GPU),),
                    most=1,
                ),
                Panel(
                    "NVLink · good: alike on a node",
                    "Bytes a second over each GPU's NVLinks.",
                    BYTES_A_SECOND,
                    (Query(f"{NVLINK_BYTES} * {added(NVLINK, NODE, by=_BY)}", _GPU),),
                ),
                Panel(
                    "Row remapping failed · good: 0",
                    "1 where a GPU can replace no more rows of its memory: it must be exchanged.",
                    COUNT,
                    (Query(most("DCGM_FI_DEV_ROW_REMAP_FAILURE", NODE, by=_BY), _GPU),),
                    colours=((1, RED),),
                    runbook="node-sick",
                ),
            ),
        ),
        Section(
            "Nodes",
            (
                Panel(
                    "CPU · good: below 80 %",
                    "The part of each node's CPUs that work, by Ray. Full CPUs delay gateways and the start of every step of vLLM.",
                    SHARE,
                    (Query(f"{mean('ray_node_cpu_utilization', NODE, by='node')} / 100", "{{node}}"),),
                    colours=((0.8, ORANGE), (0.95, RED)),
                    most=1,
                ),
                Panel(
                    "Memory · good: below 90 %",
                    "The part of each node's memory that is in use. At 95 % Ray kills processes.",
                    SHARE,
                    (Query(f"{added('ray_node_mem_used', NODE, by='node')} / {added('ray_node_mem_total', NODE, by='node')}", "{{node}}"),),
                    colours=((0.9, ORANGE), (0.95, RED)),
                    most=1,
                ),
                Panel(
                    "Disk · good: below 85 %",
                    "The part of each node's disk that is in use: weights, logs, core dumps.",
                    SHARE,
                    (Query(f"{mean('ray_node_disk_utilization_percentage', NODE, by='node')} / 100", "{{node}}"),),
                    colours=((0.85, ORANGE), (0.95, RED)),
                    most=1,
                    runbook="node-sick",
                ),
            ),
        ),
    ),
    variables=("node",),
)
