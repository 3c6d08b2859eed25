"""One model: what its clients see, and what its engines do, by vLLM's own metrics."""

from monitoring.panels.promql import MODEL, NODE, added, average, mean, most, quantile, rate, share
from monitoring.panels.rows import (
    BYTES,
    BYTES_A_SECOND,
    COUNT,
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

ENGINES = (MODEL, NODE)


def _percentiles(metric: str, *matchers: str) -> tuple[Query, ...]:
    return tuple(Query(quantile(part, metric, *matchers), f"p{part * 100:g}") for part in (0.5, 0.9, 0.99))


def _objective(name: str) -> Query:
    return Query(most("herd_slo_threshold_seconds", MODEL, f'objective="{name}"'), "objective")


_PREFIX = share(rate("vllm:prefix_cache_hits_total", *ENGINES), rate("vllm:prefix_cache_queries_total", *ENGINES))
_DRAFTED = rate("vllm:spec_decode_num_draft_tokens_total", *ENGINES)

CLIENTS = (
    Panel(
        "Time to first token · good: p90 below the objective",
        "From a request's arrival at the gateway to the first piece of its streamed answer, with the time that it waited. Compare "
        "*Phases of a request* for whether it waits or is computed.",
        SECONDS,
        (*_percentiles("herd_time_to_first_token_seconds", MODEL), _objective("ttft")),
        runbook="ttft",
    ),
    Panel(
        "Time between tokens · good: p90 below the objective",
        "Between two pieces of a streamed answer, as the gateway sends them. It grows with the batch, with long prompts beside it, and "
        "with preemptions.",
        SECONDS,
        (*_percentiles("herd_inter_token_latency_seconds", MODEL), _objective("itl")),
        runbook="itl",
    ),
    Panel(
        "Whole answer · good: steady",
        "From a request's arrival at the gateway to the end of its answer. It follows the length of the answers.",
        SECONDS,
        _percentiles("herd_request_seconds", MODEL),
    ),
    Panel(
        "Requests by outcome · good: nearly all ok",
        "Requests for this model that ended, a second. `client_error` and `cancelled` are the clients' own; all others but `ok` are ours.",
        REQUESTS,
        (Query(rate("herd_requests_total", MODEL, by="outcome"), "{{outcome}}"),),
        shape="stacked",
        runbook="error-budget",
    ),
    Panel(
        "Tokens in engines · good: follows the requests",
        "Tokens of prompts computed or found in the cache, and tokens generated, as vLLM counts them: all, also of those that hung up.",
        TOKENS,
        (
            Query(rate("vllm:prompt_tokens_total", *ENGINES), "prompt"),
            Query(rate("vllm:generation_tokens_total", *ENGINES), "generated"),
        ),
    ),
    Panel(
        "Requests in engines · good: few wait",
        "Requests that engines compute, and those that wait inside of engines. The gateways' own line is beside them.",
        COUNT,
        (
            Query(added("vllm:num_requests_running", *ENGINES), "running"),
            Query(added("vllm:num_requests_waiting", *ENGINES), "waiting in engines"),
            Query(added("herd_queue_requests", MODEL), "waiting at gateways"),
        ),
        runbook="queue-growing",
    ),
    Panel(
        "KV cache in use by replica · good: below 90 %",
        "The part of each engine's KV cache that holds requests. Near 100 % vLLM preempts.",
        SHARE,
        (Query(most("vllm:kv_cache_usage_perc", *ENGINES, by="replica, engine"), "{{replica}} {{engine}}"),),
        colours=((0.9, ORANGE), (0.97, RED)),
        most=1,
        runbook="kv-thrash",
    ),
    Panel(
        "Prefix cache · good: steady",
        "The part of the prompts' tokens that engines found in their prefix caches. It falls when conversations move between replicas "
        "(*Gateway and routing*), or when the cache is too small for them.",
        SHARE,
        (Query(_PREFIX, "found"),),
        most=1,
    ),
    Panel(
        "Preemptions · good: 0",
        "Requests a second that vLLM threw out of the KV cache, to compute them again later. Above 0 for minutes: too many requests at "
        "once.",
        REQUESTS,
        (Query(rate("vllm:num_preemptions_total", *ENGINES, by="replica"), "{{replica}}"),),
        colours=((0.1, ORANGE), (1, RED)),
        runbook="kv-thrash",
    ),
    Panel(
        "Batch · good: grows with the load",
        "Tokens that an engine computes in one step, on average. A large batch is cheap per token, and slow for each stream.",
        "suffix: tokens",
        (Query(average("vllm:iteration_tokens_total", *ENGINES), "per step"),),
    ),
    Panel(
        "Phases of a request · good: queue near 0",
        "Mean seconds of a request inside of its engine: waiting, computing the prompt, generating.",
        SECONDS,
        tuple(Query(average(f"vllm:request_{phase}_time_seconds", *ENGINES), phase) for phase in ("queue", "prefill", "decode")),
        shape="stacked",
        runbook="ttft",
    ),
    Panel(
        "How answers end · good: stop and length",
        "Answers that engines ended, a second, by reason. `abort`: the client or the gateway hung up. `error`: the engine's fault.",
        REQUESTS,
        (Query(rate("vllm:request_success_total", *ENGINES, by="finished_reason"), "{{finished_reason}}"),),
        shape="stacked",
    ),
)

SECTIONS = (
    Section(
        "Replicas",
        (
            Panel(
                "Running requests by replica · good: alike",
                "Requests that each engine computes. One far above the others: look at *Replicas picked, by reason* in *Gateway and "
                "routing*.",
                COUNT,
                (Query(added("vllm:num_requests_running", *ENGINES, by="replica"), "{{replica}}"),),
            ),
            Panel(
                "Tokens generated by replica · good: alike",
                "Tokens that each engine generates. 0 beside running requests: the engine is stuck.",
                TOKENS,
                (Query(rate("vllm:generation_tokens_total", *ENGINES, by="replica"), "{{replica}}"),),
                runbook="engine-stuck",
            ),
            Panel(
                "Time to first token in engines, p90 · good: alike",
                "From a request's arrival at its engine to its first token, without the gateways' line.",
                SECONDS,
                (Query(quantile(0.9, "vllm:time_to_first_token_seconds", *ENGINES, by="replica"), "{{replica}}"),),
            ),
        ),
    ),
    Section(
        "Lengths",
        (
            Panel(
                "Prompts · good: as planned for",
                "Tokens of a prompt. `herd plan` sized the KV cache for what the config says of them.",
                "suffix: tokens",
                _percentiles("vllm:request_prompt_tokens", *ENGINES),
            ),
            Panel(
                "Answers · good: as planned for",
                "Tokens of an answer, as engines count them.",
                "suffix: tokens",
                _percentiles("vllm:request_generation_tokens", *ENGINES),
            ),
            Panel(
                "Where prompts' tokens come from · good: cache and little else",
                "Tokens of prompts by source: computed here, found in the local cache, or fetched from another engine.",
                TOKENS,
                (Query(rate("vllm:prompt_tokens_by_source_total", *ENGINES, by="source"), "{{source}}"),),
                shape="stacked",
            ),
        ),
    ),
    Section(
        "Speculative decoding, images, prefill apart",
        (
            Panel(
                "Drafted tokens that were right · good: above 50 %",
                "The part of the drafted tokens that the model accepted. Low: drafting costs more than it saves (`draft` of the model).",
                SHARE,
                (Query(share(rate("vllm:spec_decode_num_accepted_tokens_total", *ENGINES), _DRAFTED), "accepted"),),
                most=1,
                empty="no draft model",
            ),
            Panel(
                "Tokens per draft · good: above 1",
                "Drafted tokens that were accepted, per draft: so many tokens more than one came of each step.",
                "suffix: tokens",
                (
                    Query(
                        f"{rate('vllm:spec_decode_num_accepted_tokens_total', *ENGINES)} / "
                        f"({rate('vllm:spec_decode_num_drafts_total', *ENGINES)} > 0)",
                        "accepted",
                    ),
                ),
                empty="no draft model",
            ),
            Panel(
                "Images in the cache · good: repeated ones are found",
                "The part of the images that engines had processed already.",
                SHARE,
                (Query(share(rate("vllm:mm_cache_hits_total", *ENGINES), rate("vllm:mm_cache_queries_total", *ENGINES)), "found"),),
                most=1,
                empty="no images",
            ),
            Panel(
                "Long prompts by who computed them · good: prefill",
                "Long prompts of a model whose prefill is apart. `decode`: no prefill engine could take it.",
                REQUESTS,
                (Query(rate("herd_prefills_total", MODEL, by="by"), "{{by}}"),),
                width=12,
                empty="prefill is not apart",
            ),
            Panel(
                "KV caches handed over · good: follows the long prompts",
                "Bytes a second that engines fetch from prefill engines, by NIXL.",
                BYTES_A_SECOND,
                (Query(rate("vllm:nixl_bytes_transferred_sum", *ENGINES), "fetched"),),
                width=12,
                empty="prefill is not apart",
            ),
        ),
    ),
    Section(
        "Memory beside the plan",
        (
            Panel(
                "Weights on one GPU · good: engine as plan",
                "Weights and rope cache on one GPU: what the engine has, and what `herd plan` expected.",
                BYTES,
                (Query(mean("herd_engine_weights_bytes", *ENGINES, by="by"), "{{by}}"),),
            ),
            Panel(
                "KV cache on one GPU · good: engine as plan",
                "Bytes of the KV cache on one GPU: what the engine has, and what `herd plan` expected.",
                BYTES,
                (Query(mean("herd_engine_kv_bytes", *ENGINES, by="by"), "{{by}}"),),
            ),
            Panel(
                "Room in the KV cache · good: engine as plan",
                "Tokens that the KV cache has room for. Fewer than planned: fewer requests at once.",
                "suffix: tokens",
                (Query(mean("herd_engine_kv_tokens", *ENGINES, by="by"), "{{by}}"),),
            ),
        ),
    ),
)

MODELS = Dashboard(
    "herd-model",
    "Herd: model",
    "One model. What its clients see is in the first row, what its engines do in the others.",
    CLIENTS,
    SECTIONS,
    variables=("model", "node"),
    one_model=True,
)
