"""The plan that an operator would run in production, by a rule, with the reason.

Decides among the plans that fit. The demands, the most important one first:

1. Weights keep 8 bits or more, unless the wish or the checkpoint says otherwise: 4 bits cost answers, and are taken where 8 do not fit.
2. A request may be as long as the wish says, else as long as is usual, or as the model takes.
3. All requests of the load run at once.
4. Each of them gets tokens faster than people read them.

Of the plans that meet all demands the one with the fewest GPUs is taken, and of those the most exact weights and KV cache, which is the
order of `cluster.planner.search`. Where none meets a demand, the nearest counts. `--cheapest` asks for another rule: the most tokens per
GPU-hour.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from cluster.planner.choice.numbers import rough, tokens
from cluster.planner.search import USUAL_CONTEXT_TOKENS, Plan, Wish
from configs.names import Quantization

#: Formats whose answers hardly differ from those of the weights as they were trained.
EIGHT_BITS: tuple[Quantization, ...] = ("bf16", "fp8", "int8")
#: Tokens per second of one answer that no reader waits for: about twice what people read.
PACE_TOKENS_S = 10.0


@dataclass(frozen=True, slots=True)
class Choice:
    """The plan to run, and why: a clause that goes on behind "because"."""

    plan: Plan
    reason: str


@dataclass(frozen=True, slots=True)
class _Demands:
    """The demands on a plan for production."""

    eight_bits: bool
    context_tokens: int
    requests: int
    whole_length: bool
    """Each request is as long as the wish's context, and not only as the load's prompt and answer."""

    def running(self, plan: Plan) -> int:
        """Returns the requests of the load that run at once."""
        return plan.concurrency if self.whole_length or plan.speed is None else plan.speed.running

    def short(self, plan: Plan) -> tuple[float, float, float, float]:
        """Returns how far a plan misses each demand, as shares; 0 where it is met."""
        return (
            float(self.eight_bits and plan.checkpoint.layout.quantization not in EIGHT_BITS),
            max(0.0, 1 - plan.capacity.max_context_tokens / self.context_tokens),
            max(0.0, 1 - self.running(plan) / self.requests),
            max(0.0, 1 - (plan.speed.user_tokens_s if plan.speed else 0.0) / PACE_TOKENS_S),
        )


def recommended(found: Sequence[Plan], wish: Wish) -> Choice | None:
    """Returns the plan to run, and why; none where nothing fits.

    Args:
        found: plans of one model on some hardware, as `cluster.planner.search` orders them.
        wish: what was asked.
    """
    fitting = [plan for plan in found if plan.fits]
    if not fitting:
        return None
    if wish.cheapest:
        return Choice(fitting[0], _cheap(fitting[0], wish))
    demands = _demands(fitting, wish)
    best = min(fitting, key=lambda plan: (demands.short(plan), plan.gpus))
    return Choice(best, _reason(best, fitting, demands))


def _demands(fitting: Sequence[Plan], wish: Wish) -> _Demands:
    longest = max(plan.engine.longest_tokens for plan in fitting)
    return _Demands(
        eight_bits=wish.quantization is None and any(plan.checkpoint.layout.quantization in EIGHT_BITS for plan in fitting),
        context_tokens=wish.context_tokens or min(USUAL_CONTEXT_TOKENS, longest),
        requests=wish.concurrency or wish.load.concurrency,
        whole_length=wish.concurrency is not None and wish.context_tokens is not None,
    )


def _cheap(best: Plan, wish: Wish) -> str:
    if best.concurrency < (wish.concurrency or 0):
        return "no plan makes more tokens per GPU-hour; some of the requests wait"
    holding = " of those that hold all requests" if wish.concurrency else ""
    return f"no plan{holding} makes more tokens per GPU-hour"


def _reason(best: Plan, fitting: Sequence[Plan], demands: _Demands) -> str:
    if missed := list(_missed(best, demands)):
        return f"nothing here does all that production needs; it comes nearest, and {' and '.join(missed)}"
    wanted = f"{_all(demands)} and take {tokens(demands.context_tokens)} of context{_bits(demands)}"
    smaller = [plan for plan in fitting if plan.gpus < best.gpus]
    if not smaller:
        return f"it is the smallest that fits, and enough to {wanted}"
    near = min(smaller, key=lambda plan: (demands.short(plan), -plan.gpus))
    return f"fewer GPUs do not {wanted}: {near.gpus}×{near.engine.gpu.name} {next(_missed(near, demands))}"


def _all(demands: _Demands) -> str:
    return f"run all {demands.requests} at once" if demands.requests > 1 else "run the request fast enough to read"


def _bits(demands: _Demands) -> str:
    return " with weights of 8 bits or more" if demands.eight_bits else ""


def _missed(plan: Plan, demands: _Demands) -> Iterator[str]:
    """Yields what a plan does instead of each demand that it misses."""
    bits, context, load, pace = demands.short(plan)
    if bits:
        yield f"fits {plan.checkpoint.layout.quantization.upper()} weights only"
    if context:
        yield f"takes {tokens(plan.capacity.max_context_tokens)} of context"
    if load:
        yield f"runs {demands.running(plan)} of {demands.requests} at once"
    if pace and plan.speed:
        yield f"gives each {rough(plan.speed.user_tokens_s)} tok/s, less than the {rough(PACE_TOKENS_S)} of a quick reader"
