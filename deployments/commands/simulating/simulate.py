"""`herd simulate`: the words of the command line.

Decides names and defaults. The simulations are made by `deployments.commands.simulating.asking`.
"""

from pathlib import Path
from typing import Annotated, Any

import typer

from deployments.commands.simulating.words import PricedGpu, Range, length, objectives, priced_gpu
from deployments.commands.simulating.words import replicas as range_of
from deployments.commands.terminal import More, Sets, files, told

#: A load lasts at most so many seconds: 31 days.
MOST_S = 31 * 86_400
MOST_PRICE = 10_000.0


ModelId = Annotated[str | None, typer.Option(help="The model's id. Default: the only one, or the only one with `scaling`.")]
Trace = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Requests from a file: Mooncake's, Azure's, vLLM's benchmark result, or a CSV.")
]
LoadText = Annotated[
    str | None, typer.Option(metavar="LOAD", help="Made-up requests: step:2@330,4@360, ramp:2-10@600, flash:…, mix:… or week:0.5.")
]
FirstSeconds = Annotated[float | None, typer.Option(help="Only this many seconds of the load, from its begin.", min=1, max=MOST_S)]
Objectives = Annotated[
    Any,
    typer.Option(
        parser=objectives, metavar="OBJECTIVES", help="Objectives: ttft_s=3,itl_s=0.1,quantile=0.9. Default of each: the model's `slo`."
    ),
]
Replicas = Annotated[Range | None, typer.Option(parser=range_of, metavar="RANGE", help="The range of replicas: 1-8. Default: the model's.")]
Gpus = Annotated[
    list[PricedGpu] | None,
    typer.Option(parser=priced_gpu, metavar="NAME[=PRICE]", help="A GPU instead of the config's, with its price of an hour. Repeatable."),
]
Price = Annotated[float | None, typer.Option(help="The price of a GPU-hour. Default: the model's `gpu_hour_price`.", min=0, max=MOST_PRICE)]
Rules = Annotated[
    list[str] | None, typer.Option(metavar="RULE", help="Another rule: static:8, ray, ray:32, keda, keda-llmd, llmd-slo. Repeatable.")
]
Seed = Annotated[int, typer.Option(help="The same seed gives the same answer.", min=0, max=2**31)]
PageFile = Annotated[Path | None, typer.Option("--out", metavar="FILE", help="Write one HTML page with plots.")]
DataFile = Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write JSON. `-`: to standard output, and nothing else.")]


def simulate(  # noqa: PLR0913 (an option each)
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="A herd's YAML file.")],
    more: More = None,
    sets: Sets = None,
    model: ModelId = None,
    trace: Trace = None,
    load: LoadText = None,
    first_s: FirstSeconds = None,
    prompt: Annotated[int, typer.Option(parser=length, help="The length of a prompt of --load, on average.", metavar="TOKENS")] = 2000,
    answer: Annotated[int, typer.Option(parser=length, help="The length of an answer of --load, on average.", metavar="TOKENS")] = 300,
    slo: Objectives = None,
    replicas: Replicas = None,
    gpu: Gpus = None,
    price: Price = None,
    compare: Rules = None,
    seed: Seed = 1,
    page: PageFile = None,
    data: DataFile = None,
) -> None:
    """Simulate a model of a config under a load, and tell how many replicas keep its objectives, on which GPUs, at what price.

    Engines are the planner's arithmetic, in virtual time. Routing, admission and scaling are production's own code.

    \b
    herd simulate configs/scout-fp8-2xh100.yaml --load step:2@300,10@900
    herd simulate herd.yaml --trace day.csv --compare ray --out report.html
    """
    if (trace is None) == (load is None):
        raise typer.BadParameter("say where the requests come from: either --trace FILE or --load LOAD")
    from deployments.commands.simulating.asking import ERRORS, Words, answer_to

    with told(*ERRORS, interrupted="Nothing was written."):
        answer_to(
            Words(
                files=files(config, more),
                sets=sets or (),
                model=model,
                load=trace if trace is not None else str(load),
                first_s=first_s,
                tokens=(prompt, answer),
                slo=slo or {},
                replicas=replicas,
                gpus=gpu or (),
                price=price,
                compare=compare or (),
                seed=seed,
                page=page,
                data=data,
            )
        )
