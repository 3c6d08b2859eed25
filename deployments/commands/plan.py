"""`herd plan`: the words of the command line.

Decides names, defaults and exit codes (0 it fits · 1 it does not · 2 the command line is wrong · 3 the config is). The plans are made by
`deployments.commands.plan_answers`.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, get_args

import typer

from cluster.planner.memory.engine import GPU_MEMORY_UTILIZATION, VLLM, version_of
from cluster.planner.search import Wish
from cluster.planner.speed import Load
from configs.engine_arguments import complaints
from configs.names import Quantization
from configs.token_counts import token_count
from deployments.commands.plan_answers import Form, cluster, plan_herd, plan_model
from deployments.commands.terminal import More, Sets, files, told
from deployments.lifecycle.fit import CannotPlan

NAMES = {"as_json": "--json", "every": "--all", "more": "--file", "sets": "--set"}
KV_DTYPES = ("bf16", "fp8")
#: A GPU-hour costs less, in any currency.
MOST_PRICE = 1_000_000_000
YAML = (".yaml", ".yml")
#: Forms of the answer, of which one can be had.
FORMS = ("as_json", "explain", "emit")
#: Options of the table, which the other forms do not have.
OF_TABLES = ("every", "wide")
#: Options that a herd's YAML leaves open.
FOR_HERDS = ("model", "more", "sets", "gpu", "gpus", "node", "nodes", "vllm", "price", "wide", "as_json")
#: Options that only a herd's YAML has.
ONLY_FOR_HERDS = ("more", "sets")
ALSO_FOR_HERDS = tuple(NAMES.get(name, f"--{name}") for name in FOR_HERDS[1:])


def _length(text: str | int) -> int:
    try:
        return token_count(str(text))  # typer parses defaults too, which are numbers already
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


def _version(text: str | None) -> str | None:
    try:
        if text is not None:
            version_of(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    return text


def _price(value: float | None) -> float | None:
    if value is not None and not 0 <= value <= MOST_PRICE:
        raise typer.BadParameter(f"{value} is no price: say a number from 0 to {MOST_PRICE:,}")
    return value


def _one_of(subject: str, allowed: tuple[str, ...]) -> typer.models.OptionInfo:
    """Returns an option whose value is one of some words."""

    def check(value: str | None) -> str | None:
        if value is not None and value.lower() not in allowed:
            raise typer.BadParameter(f"{value!r} is none of {', '.join(allowed)}")
        return value and value.lower()

    option: typer.models.OptionInfo = typer.Option(help=f"{subject}: {', '.join(allowed)}.", callback=check)
    return option


Size = Annotated[int | None, typer.Option(min=1, max=64, help="Pin this parallel size. Default: every legal one is tried.")]

Price = Annotated[
    float | None, typer.Option(callback=_price, help="The price of a GPU-hour: rows tell what a million tokens cost, cheapest first.")
]
Share = Annotated[float, typer.Option(help="The share of a GPU's memory that vLLM may use.", min=0.01, max=1)]


def _contradictions(context: typer.Context) -> Iterator[str]:
    """Yields the options of a command line that contradict each other."""
    sources = {name: context.get_parameter_source(name) for name in context.params}
    said = {name for name, source in sources.items() if source is not None and source.name == "COMMANDLINE"}
    given = {name: NAMES.get(name, f"--{name.replace('_', '-')}") for name in said}
    forms = [given[name] for name in FORMS if name in given]
    if len(forms) > 1:
        yield f"{' and '.join(forms)} are answers of different forms: say one of them"
    elif forms and (tables := [given[name] for name in OF_TABLES if name in given]):
        yield f"{forms[0]} has no table, which {' and '.join(tables)} {'is' if len(tables) == 1 else 'are'} for"
    if _is_config(context.params["model"]):
        unused = sorted(given[name] for name in said.difference(FOR_HERDS))
        if unused:
            yield f"{', '.join(unused)}: a herd's YAML says that itself, or has no such answer; with it go {', '.join(ALSO_FOR_HERDS)}"

    elif wrong := [given[name] for name in ONLY_FOR_HERDS if name in given]:
        yield f"{' and '.join(wrong)}: only for a herd's YAML"


def _is_config(model: str) -> bool:
    """Tells whether a MODEL is a herd's YAML file; `-` is standard input."""
    return model == "-" or Path(model).suffix in YAML


def _wish(said: Mapping[str, Any]) -> Wish:
    """Returns the wish of a command line, by the names of its options."""
    same = ("concurrency", "cheapest", "quantization", "kv_dtype", "tensor", "pipeline", "data", "expert", "hybrid_kv", "max_num_seqs")
    return Wish(
        context_tokens=said["context"],
        load=Load(said["concurrency"] or 64, said["prompt"], said["answer"]),
        gpu_memory_utilization=said["gpu_memory_utilization"],
        vllm=version_of(said["vllm"]) if said["vllm"] else VLLM,
        engine=_arguments(said["engine"] or ()),
        **{name: said[name] for name in same},
    )


def _arguments(said: Iterable[str]) -> dict[str, Any]:
    """Reads further arguments of vLLM's engine: each NAME=VALUE, a value being JSON, else text.

    Raises:
        BadParameter: vLLM has no such argument, or the herd sets it itself.
    """
    found: dict[str, Any] = {}
    for one in said:
        name, mark, value = one.partition("=")
        name = name.strip().removeprefix("--").replace("-", "_")
        try:
            found[name] = json.loads(value) if mark else True
        except ValueError:
            found[name] = value
    if wrong := "; ".join(complaints(found)):
        raise typer.BadParameter(wrong)
    return found


Vllm = Annotated[
    str | None, typer.Option("--vllm", "--vllm-version", callback=_version, help="The version of vLLM. Default: the pinned one.")
]


def plan(  # noqa: PLR0913 (an option each)
    context_of_call: typer.Context,
    model: Annotated[str, typer.Argument(help="A model (llama-4-scout), a repository, a folder with config.json, or a herd's YAML file.")],
    more: More = None,
    sets: Sets = None,
    gpu: Annotated[str | None, typer.Option(help="H100 (default), H200, B200, A100, L40S, …: your name for it or nvidia-smi's.")] = None,
    gpus: Annotated[int | None, typer.Option(help="The number of GPUs in a node. Default: 8.", min=1)] = None,
    nodes: Annotated[int | None, typer.Option(help="The number of nodes. Default: 1, or the config's.", min=1, max=4096)] = None,
    node: Annotated[str | None, typer.Option(help="A kind of node (dgx-h100, p5en.48xlarge, …) instead of --gpu and --gpus.")] = None,
    quantization: Annotated[str | None, _one_of("The format of the weights", get_args(Quantization))] = None,
    kv_dtype: Annotated[str | None, _one_of("The format of the KV cache", KV_DTYPES)] = None,
    context: Annotated[int | None, typer.Option(parser=_length, help="The longest request: 131072, 128K or 1M.", metavar="TOKENS")] = None,
    concurrency: Annotated[int | None, typer.Option(help="Requests that come at once; those without room wait.", min=1)] = None,
    cheapest: Annotated[bool, typer.Option("--cheapest", help="Recommend the plan with the cheapest tokens.")] = False,
    prompt: Annotated[int, typer.Option(parser=_length, help="The prompt's length, to estimate speed.", metavar="TOKENS")] = 1000,
    answer: Annotated[int, typer.Option(parser=_length, help="The answer's length, to estimate speed.", metavar="TOKENS")] = 1000,
    price: Price = None,
    tensor: Size = None,
    pipeline: Size = None,
    data: Size = None,
    expert: Annotated[bool | None, typer.Option("--expert/--no-expert", help="Whole experts per GPU, or a slice of each.")] = None,
    hybrid_kv: Annotated[bool, typer.Option(help="Let chunked layers free tokens that they no longer see, as vLLM does.")] = True,
    gpu_memory_utilization: Share = GPU_MEMORY_UTILIZATION,
    max_num_seqs: Annotated[int | None, typer.Option(min=1, help="Sequences at once. Default: vLLM's, or fewer if needed.")] = None,
    vllm: Vllm = None,
    engine: Annotated[
        list[str] | None, typer.Option(help="An argument of vLLM's engine: max_num_batched_tokens=4096.", metavar="NAME=VALUE")
    ] = None,
    explain: Annotated[bool, typer.Option("--explain", help="Show the arithmetic of the best plan, line by line, with sources.")] = False,
    every: Annotated[bool, typer.Option("--all", help="Show every plan that was looked at, not only those that differ in kind.")] = False,
    wide: Annotated[bool, typer.Option("--wide", help="Show every column, in lines as long as they are.")] = False,
    emit: Annotated[bool, typer.Option("--emit", help="Print the best plan as the YAML that `herd up` takes.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print every plan as JSON, best first, for scripts.")] = False,
) -> None:
    """Tell what fits on which GPUs, how long, how many and how fast, by arithmetic, before a GPU is booked.

    \b
    herd plan llama-4-scout --gpu h100 --context 1M
    herd plan configs/herd.yaml --nodes 2
    """
    if wrong := "; ".join(_contradictions(context_of_call)):
        raise typer.BadParameter(wrong)
    with told(CannotPlan):
        named, form = cluster(gpu, gpus, nodes, node), Form(as_json, explain, emit, price, every, wide)
        if _is_config(model):
            hardware = named if gpu or gpus or node else None
            plan_herd(files(Path(model), more), sets or (), hardware, nodes, form, version_of(vllm) if vllm else VLLM)
        else:
            plan_model(model, named, _wish(context_of_call.params), form)
