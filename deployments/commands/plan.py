"""`herd plan`: the words of the command line.

Decides names, defaults and exit codes (0 it fits · 1 it does not · 2 the command line is wrong · 3 the config is). The plans are made by
`deployments.commands.plan_answers`.
"""

from pathlib import Path
from typing import Annotated, cast, get_args

import typer

from cluster.planner.capacity import GPU_MEMORY_UTILIZATION, KvDtype
from cluster.planner.search import Wish
from cluster.planner.speed import Load
from configs.schema import Quantization
from deployments.commands.plan_answers import Form, cluster, plan_herd, plan_model, tokens
from deployments.commands.terminal import told
from deployments.lifecycle.fit import CannotPlan

KV_DTYPES = ("bf16", "fp8")


def _length(text: str | int) -> int:
    try:
        return tokens(str(text))  # typer parses defaults too, which are numbers already
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


def _one_of(subject: str, allowed: tuple[str, ...]) -> typer.models.OptionInfo:
    """Returns an option whose value is one of some words."""

    def check(value: str | None) -> str | None:
        if value is not None and value.lower() not in allowed:
            raise typer.BadParameter(f"{value!r} is none of {', '.join(allowed)}")
        return value and value.lower()

    option: typer.models.OptionInfo = typer.Option(help=f"{subject}: {', '.join(allowed)}.", callback=check)
    return option


Size = Annotated[int | None, typer.Option(min=1, max=64, help="Pin this parallel size. Default: every legal one is tried.")]

Share = Annotated[float, typer.Option(help="The share of a GPU's memory that vLLM may use.", min=0.01, max=1)]


def plan(  # noqa: PLR0913 (an option each)
    model: Annotated[str, typer.Argument(help="A model (llama-4-scout), a repository, a folder with config.json, or a herd's YAML file.")],
    gpu: Annotated[str | None, typer.Option(help="H100 (default), H200, B200, A100, A100-40, L40S, RTX4090 or MI300X.")] = None,
    gpus: Annotated[int | None, typer.Option(help="The number of GPUs in a node. Default: 8.", min=1)] = None,
    nodes: Annotated[int | None, typer.Option(help="The number of nodes. Default: 1, or the config's.", min=1, max=4096)] = None,
    node: Annotated[str | None, typer.Option(help="A kind of node (dgx-h100, p5en.48xlarge, …) instead of --gpu and --gpus.")] = None,
    quantization: Annotated[str | None, _one_of("The format of the weights", get_args(Quantization))] = None,
    kv_dtype: Annotated[str | None, _one_of("The format of the KV cache", KV_DTYPES)] = None,
    context: Annotated[int | None, typer.Option(parser=_length, help="The longest request: 131072, 128K or 1M.", metavar="TOKENS")] = None,
    concurrency: Annotated[int | None, typer.Option(help="The number of such requests that one replica must hold.", min=1)] = None,
    cheapest: Annotated[bool, typer.Option("--cheapest", help="Order plans by the cost of a token, not by the number of GPUs.")] = False,
    prompt: Annotated[int, typer.Option(parser=_length, help="The prompt's length, to estimate speed.", metavar="TOKENS")] = 1000,
    answer: Annotated[int, typer.Option(parser=_length, help="The answer's length, to estimate speed.", metavar="TOKENS")] = 1000,
    price: Annotated[float | None, typer.Option(help="The price of a GPU-hour, to show the cost of tokens.", min=0)] = None,
    tensor: Size = None,
    pipeline: Size = None,
    data: Size = None,
    expert: Annotated[bool | None, typer.Option("--expert/--no-expert", help="Whole experts per GPU, or a slice of each.")] = None,
    hybrid_kv: Annotated[bool, typer.Option(help="Let chunked layers free tokens that they no longer see, as vLLM does.")] = True,
    gpu_memory_utilization: Share = GPU_MEMORY_UTILIZATION,
    max_num_seqs: Annotated[int | None, typer.Option(min=1, help="Sequences at once. Default: vLLM's, or fewer if needed.")] = None,
    explain: Annotated[bool, typer.Option("--explain", help="Show the arithmetic of the best plan, line by line, with sources.")] = False,
    emit: Annotated[bool, typer.Option("--emit", help="Print the best plan as the YAML that `herd up` takes.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print every plan as JSON, best first, for scripts.")] = False,
) -> None:
    """Tell what fits on which GPUs, how long, how many and how fast, by arithmetic, before a GPU is booked.

    `herd plan llama-4-scout --gpu h100 --context 1M` plans a model; `herd plan herd.yaml --nodes 2` checks a whole herd on a whole cluster.
    """
    wish = Wish(
        context_tokens=context,
        concurrency=concurrency,
        cheapest=cheapest,
        load=Load(concurrency or 64, prompt, answer),
        quantization=cast("Quantization | None", quantization),
        kv_dtype=cast("KvDtype | None", kv_dtype),
        tensor=tensor,
        pipeline=pipeline,
        data=data,
        expert=expert,
        hybrid_kv=hybrid_kv,
        gpu_memory_utilization=gpu_memory_utilization,
        max_num_seqs=max_num_seqs,
    )
    with told(CannotPlan):
        named = cluster(gpu, gpus, nodes, node)
        if Path(model).suffix in (".yaml", ".yml"):
            plan_herd(Path(model), named if gpu or gpus or node else None, nodes, as_json)
        else:
            plan_model(model, named, wish, Form(as_json, explain, emit, price))
