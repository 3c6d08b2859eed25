"""The tables of figures in `tests/README.md`, made from `results/*.json`: `python -m tests.bench.readme` writes them.

Decides which figures a reader needs. A result that is missing has no row. A test compares the page with the results.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
README = Path(__file__).parents[1] / "README.md"
#: Figures of a rule that `_scaled` shows.
SCALED = ("attainment", "out_of_slo_s", "gpu_hours")
BEGIN, END = "<!-- {}: python -m tests.bench.readme -->\n", "<!-- /{} -->"

Row = tuple[str, str, str]


def _overhead(said: dict[str, Any]) -> Iterator[Row]:
    for key, what, unit in (
        ("ratio_32", "Tokens/s at 32 streams, as a part of the bare engine's", ""),
        ("ttft_added_ms_1", "Time to first token added, one stream", " ms"),
        ("ttft_added_ms_32", "Time to first token added, 32 streams", " ms"),
    ):
        router = said.get(f"vllm-router: {key}")
        yield what, f"{said[key]:g}{unit}", "" if router is None else f"vllm-router: {router:g}{unit}"


def _cpu(said: dict[str, Any]) -> Iterator[Row]:
    for key, what in (("us_per_chunk", "streamed chunk"), ("us_per_request", "request")):
        others = (f"{name}: {one[key]}" for name, one in said["proxies"].items() if name != "herd")
        yield f"CPU time of the gateway per {what}", f"{said['proxies']['herd'][key]} µs", ", ".join(others)
    if "empty_ray_actor_idle_us_per_s" in said:
        idle, empty = said["proxies"]["herd"]["idle_us_per_s"] / 1e4, said["empty_ray_actor_idle_us_per_s"] / 1e4
        yield "CPU of an idle gateway", f"{idle:.1f} % of a core", f"a Ray actor that does nothing: {empty:.1f} %"
    for what, percent in said.get("load_reports", {}).items():
        yield f"CPU of load reports: {what}", f"{percent} % of a core", ""
    if several := said.get("several"):
        rows, where = several["proxies"], f"with {several['replicas']} engines"
        routers = ", ".join(f"{name}: {one['us_per_request']}" for name, one in rows.items() if name != "herd")
        yield f"CPU time of the gateway per request, {where}", f"{rows['herd']['us_per_request']} µs", routers
        most = {name: max(one["requests_per_s"] for one in curve.values()) for name, curve in several["curve"].items()}
        routers = ", ".join(f"{name}: {rate}" for name, rate in most.items() if name != "herd")
        yield f"Requests a second that one gateway carries on one core, {where}", f"{most['herd']}", routers


def _trace(said: dict[str, Any]) -> Iterator[Row]:
    for part in said["virtual"]:
        rows = part["loads"][f"{part['half_load']:g}"]
        where = f"{part['kv_tokens'] // 1000}K KV tokens per replica"
        others = ", ".join(
            f"{name}: {row['goodput']:.2f}" for name, row in rows.items() if name.startswith(("Ray", "the same", "round_robin"))
        )
        lightest = min(part["loads"], key=float)
        most = f"load {lightest}, where hardly anybody waits: {part['loads'][lightest]['herd']['goodput']:.2f}"
        yield f"Goodput where round robin has half, trace of conversations, {where}", f"{rows['herd']['goodput']:.2f}", f"{others}; {most}"
        hits = ", ".join(f"{name}: {rows[name]['hit_rate']:.3f}" for name in ("round_robin", "Ray PrefixCacheAffinityRouter"))
        one_cache = f"one shared cache: {part['shared_lru_hit_rate']:.3f}"
        yield "Prefix hit rate of the same", f"{rows['herd']['hit_rate']:.3f}", f"{one_cache}, {hits}"
    for load, rows in said.get("several", {"loads": {}})["loads"].items():
        one, four, alone = (rows[name]["goodput"] for name in ("herd", "herd, 4 gateways", "the same, each on its own"))
        yield f"Goodput of four gateways, load {load}", f"{four:.2f}", f"one gateway: {one:.2f}, four that hear nothing: {alone:.2f}"
    if "real_time" in said:
        rows = said["real_time"]["routers"]
        others = ", ".join(f"{name}: {row['goodput']:.2f}" for name, row in rows.items() if name != "herd")
        yield "The same over HTTP, ten times faster than real", f"{rows['herd']['goodput']:.2f}", others


def _kills(said: dict[str, Any]) -> Iterator[Row]:
    for name in ("simulated", "real"):
        if name in said:
            one = said[name]
            what = f"{one['kills']} kills of {name} engines, {one['under_way']} requests under way on them"
            yield what, f"{one['failed']} failed, {one['wrong']} wrong", f"of {one['requests']} requests"


def _overload(said: dict[str, Any]) -> Iterator[Row]:
    alone, beside = said["herd"]["interactive_alone"], said["herd"]["interactive_beside_batch"]
    yield (
        "Time to first token (p50) beside a flood of batch requests",
        f"{beside['ttft_p50_ms']:g} ms",
        f"without it: {alone['ttft_p50_ms']:g} ms",
    )
    for name in ("herd", "vllm-router"):
        if name in said:
            full, flood = said[name]["full"], said[name]["flood"]
            kept = f"{flood['answered_per_s'] / full['answered_per_s']:.2f} of the throughput, TTFT p99 {flood['ttft_p99_ms'] / 1e3:.1f} s"
            if memory := flood.get("memory_mib"):
                kept += f", {memory['most'] - memory['before']} MiB more"
            factor = said["settings"].get("flood_factor", 3)
            yield f"{factor:g} times the load that fits", *((kept, "") if name == "herd" else ("", f"{name}: {kept}"))


def _simulated_million(said: dict[str, Any]) -> Iterator[Row]:
    settings = said["settings"]
    replicas, most = max(said["replicas"].items(), key=lambda row: int(row[0]))
    took = f"{most['cpu_s']:.0f} s, {most['peak_mib']:,} MiB{'' if settings['machine_quiet'] else ' (other programs ran)'}"
    rates = ", ".join(f"{number} replicas: {one['requests_per_cpu_s']:,}" for number, one in said["replicas"].items())
    what = f"{most['requests']:,} requests over {int(replicas):,} replicas in virtual time, on one core"
    yield (
        what,
        took,
        f"requests a second with {rates}; the bar for a million: {settings['bar']['cpu_s']} s, {settings['bar']['peak_mib']:,} MiB",
    )


def _simulated_beside_real(said: dict[str, Any]) -> Iterator[Row]:
    settings = said["settings"]
    per_s = {rate: one["requests"] / settings["seconds"] for rate, one in said["rates"].items()}
    for rate, one in said["rates"].items():
        if float(rate) == settings["fitted_to"]:
            continue
        real = one["real"]
        load = real["tokens_per_s"] / settings["most_tokens_per_s"]
        what = f"Simulated beside {settings['replicas']} real engines at {per_s[rate]:.2f} requests/s, {load:.2f} of what they can"
        off = {name: f"{100 * share:+.1f} %" for name, share in one["wrong"].items()}
        ours = ", ".join(
            f"{name} p50 {off[f'{key}_p50_s']}, p90 {off[f'{key}_p90_s']}" for name, key in (("TTFT", "ttft"), ("whole answers", "e2e"))
        )
        fitted = f"fitted to {per_s[str(settings['fitted_to'])]:.2f} requests/s only"
        true = f"real TTFT: {real['ttft_p50_s'] * 1e3:.0f} ms, {real['ttft_p90_s'] * 1e3:.0f} ms; tokens/s {off['tokens_per_s']}"
        yield what, ours, f"{true}; {fitted}"


_PARTS: dict[str, Callable[[dict[str, Any]], Iterator[Row]]] = {
    "overhead": _overhead,
    "cpu": _cpu,
    "trace": _trace,
    "kills": _kills,
    "overload": _overload,
    "simulated_million": _simulated_million,
    "simulated_beside_real": _simulated_beside_real,
}


def table(results: Path = RESULTS) -> str:
    """Returns the table of figures, in Markdown."""
    found = ((rows, results / f"{name}.json") for name, rows in _PARTS.items())
    rows = [row for make, path in found if path.exists() for row in make(json.loads(path.read_text(encoding="utf-8")))]
    lines = ("| " + " | ".join(row) + " |" for row in rows)
    return "\n".join(["| | Llama Herd | beside it |", "|---|---|---|", *lines]) + "\n"


def chaos(results: Path = RESULTS) -> str:
    """Returns the table of what was killed or cut and what it cost, in Markdown."""
    faults = _part(results, "chaos", "faults")
    lines = [
        "| killed or cut | times | requests | failed | told to wait | streams broken | wrong | model away | full service after | by |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for one in faults:
        counts = " | ".join(str(one[name]) for name in ("times", "requests", "failed", "refused", "broken", "wrong"))
        away = " · ".join(f"{took:.0f} s, told {told} s" for took, told in zip(one["away_s"], one["told_s"], strict=True))
        took = " · ".join(f"{seconds:.0f} s" for seconds in one["full_service_s"])
        lines.append(f"| {one['fault']} | {counts} | {away} | {took} | {one['saves']} |")
    return "\n".join(lines) + "\n"


def profile(results: Path = RESULTS) -> str:
    """Returns the table of what one request takes step by step, in Markdown."""
    profiles = _part(results, "profile", "profiles")
    lines = [
        "| step |" + "".join(f" {name}: µs warm | cold | bytecodes |" for name in profiles),
        "|---|" + "---:|---:|---:|" * len(profiles),
    ]
    for step in next(iter(profiles.values()), {}):
        found = (profiles[name][step] for name in profiles)
        figures = (f"{one['warm_us']:.1f} | {one['cold_us']:.1f} | {one['bytecodes'] or ''}" for one in found)
        lines.append(f"| {step} | {' | '.join(figures)} |")
    return "\n".join(lines) + "\n"


def scaling(results: Path = RESULTS) -> str:
    """Returns the table of rules that scale replicas under each load, in Markdown: means over the seeds."""
    loads = _part(results, "scaling", "loads")
    lines = [
        "| load | herd | its rule, without its line | the other rule with the most in SLO | the cheapest that has at least as much |",
        "|---|---|---|---|---|",
    ]
    for load, rules in loads.items():
        means = {name: _means(found) for name, found in rules.items()}
        own = means["herd"]
        others = {name: found for name, found in means.items() if not name.startswith(("herd", "oracle"))}
        best = max(others, key=lambda name: (others[name][0], -others[name][2]), default=None)
        as_good = [name for name in others if others[name][0] >= own[0] - 0.0005]
        cheapest = min(as_good, key=lambda name: others[name][2], default=None)
        alone = _scaled(means["herd, no line"]) if "herd, no line" in means else ""
        cells = [_scaled(own), alone, *(f"{name}: {_scaled(others[name])}" if name else "none" for name in (best, cheapest))]
        lines.append(f"| {load} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def oracles(results: Path = RESULTS) -> str:
    """Returns the table of what rules that know the load save at no worse service than ours, in Markdown: means over their seeds."""
    loads = _part(results, "scaling", "loads")
    lines = [
        "| load | seeds | plans | herd | knows the present | ours over it | knows the load | ours over it |",
        "|---|---:|---:|---|---|---:|---|---:|",
    ]
    for load, rules in loads.items():
        if not (several := len(rules.get("oracle", ()))):
            continue
        own, *knowing = (_means(rules[name][:several]) for name in ("herd", "oracle of the present", "oracle"))
        cells = (f"{_scaled(known)} | {100 * (own[-1] / known[-1] - 1):.0f} %" for known in knowing)
        plans = sum(one["plans"] for one in rules["oracle"]) // several
        lines.append(f"| {load} | {several} | {plans} | {_scaled(own)} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def equal(results: Path = RESULTS) -> str:
    """Returns the table of the best that other rules reach for the GPU-hours that ours takes, whatever their knobs, in Markdown."""
    lines = [
        "| load | seeds | herd | the best other rule at no more GPU-hours | its time out of SLO over ours | less ours, s, 95 of 100"
        " | herd by its own knobs | less that, s, 95 of 100 |",
        "|---|---:|---|---|---:|---:|---|---:|",
    ]
    for load, found in _part(results, "scaling_pareto", "equal").items():
        said = found.get("deciding") or found
        own, best = said["herd"], said["best"]
        other = said["others"].get(best)
        cells = [_scaled(tuple(one[what] for what in SCALED)) for one in (own, other) if one]
        times = f"{other['out_of_slo_s'] / own['out_of_slo_s']:.2f}" if other and own["out_of_slo_s"] else ""
        front = said.get("front")
        knobs = f"{_scaled(tuple(front[what] for what in SCALED))} | {_between(front)}" if front else " | "
        row = f"{cells[0]} | {f'{best}: {cells[1]}' if other else 'none'} | {times} | {_between(said)}"
        lines.append(f"| {load} | {said['seeds']} | {row} | {knobs} |")
    return "\n".join(lines) + "\n"


def fronts(results: Path = RESULTS) -> str:
    """Returns the table of the time out of SLO at a few budgets, of ours and of the best other rule, in Markdown."""
    loads = {load: found["fronts"] for load, found in _part(results, "scaling_pareto", "equal").items() if found["fronts"]["budgets"]}
    budgets = next(iter(loads.values()))["budgets"] if loads else []
    heads = " | ".join("{:g} × the hours".format(one["times"]) for one in budgets)
    lines = [f"| load | seeds | {heads} |", f"|---|---:{'|---' * len(budgets)}|"]
    for load, said in loads.items():
        cells = [f"{_out(one['ours'])} : {_out(one['others'])}" for one in said["budgets"]]
        lines.append(f"| {load} | {said['seeds']} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def line(results: Path = RESULTS) -> str:
    """Returns the table of what the order of a gateway's line costs and brings, in Markdown."""
    lines = [
        "| load | in time, in turn | by the objective | got 429, in turn | by the objective | longest wait, in turn | by the objective |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for load, orders in _part(results, "late_last", "loads").items():
        cells = [f"{100 * one['in_time'] / one['all']:.1f} %" for one in orders.values()]
        cells += [f"{100 * (one['refused'] + one['expired']) / one['all']:.2f} %" for one in orders.values()]
        cells += [f"{one['longest_s']:.0f} s" for one in orders.values()]
        lines.append(f"| {load} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _part(results: Path, name: str, part: str) -> Any:
    """Returns a part of a benchmark's results; nothing where there are none."""
    path = results / f"{name}.json"
    return json.loads(path.read_text(encoding="utf-8"))[part] if path.exists() else {}


def _means(seeds: Sequence[Mapping[str, float]]) -> tuple[float, ...]:
    """Returns the means of `SCALED` over the figures of some seeds."""
    return tuple(sum(one[what] for one in seeds) / len(seeds) for what in SCALED)


def _between(said: dict[str, Any]) -> str:
    return " – ".join(f"{one:.0f}" for one in said.get("more_out_of_slo_s", ()))


def _out(reached: dict[str, Any] | None) -> str:
    if reached is None:
        return "none"
    name = reached["rule"]
    return f"{reached['out_of_slo_s']:.0f} s" + ("" if name == "herd" else " (headroom)" if name.startswith("herd") else f" ({name})")


def _scaled(found: tuple[float, ...]) -> str:
    attainment, out_of_slo_s, gpu_hours = found
    return f"{100 * attainment:.1f} %, {out_of_slo_s:.0f} s out, {gpu_hours:.2f} h"


def written(readme: str) -> str:
    """Returns a page with the tables as they are now.

    Raises:
        ValueError: the page has no place for one of them.
    """
    parts = {
        "figures": table(),
        "profile": profile(),
        "chaos": chaos(),
        "scaling": scaling(),
        "oracles": oracles(),
        "equal": equal(),
        "fronts": fronts(),
        "line": line(),
    }
    for name, made in parts.items():
        before, begin, rest = readme.partition(BEGIN.format(name))
        _, end, after = rest.partition(END.format(name))
        if not (begin and end):
            raise ValueError(f"the page has no {BEGIN.format(name).strip()} … {END.format(name)}")
        readme = before + begin + made + end + after
    return readme


if __name__ == "__main__":
    README.write_text(written(README.read_text(encoding="utf-8")), encoding="utf-8")
