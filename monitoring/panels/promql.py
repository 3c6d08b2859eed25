"""PromQL of the panels, so that every selector names its job and cluster, and every rate Grafana's own interval.

Decides how a counter, a gauge and a histogram are put together over gateways and replicas. The page that shows a metric
follows from its name, and for the herd's own metrics from the table.
"""

from monitoring.metrics import GATEWAYS

MODEL, NODE = 'model=~"$model"', 'node=~"$node"'
INTERVAL = "$__rate_interval"
#: DCGM's exporter calls it a counter. It is what DCGM has measured last, in KiB a second over 1000 (dcgm-exporter's issue 417).
NVLINK, NVLINK_BYTES = "DCGM_FI_DEV_NVLINK_BANDWIDTH_TOTAL", 1024_000
_OF_GATEWAYS = frozenset(metric.name for metric in GATEWAYS)
_PARTS = ("_bucket", "_count", "_sum")


def selected(metric: str, *matchers: str) -> str:
    """Returns a selector of a metric's series: on the pages that show it, of the chosen clusters, and with these labels."""
    labels = f'job="{job(metric)}"', 'cluster=~"$cluster"', *matchers
    return f"{metric}{{{', '.join(labels)}}}"


def job(metric: str) -> str:
    """Returns the kind of page that shows a metric."""
    for beginning, name in (("ray_", "ray"), ("DCGM_", "dcgm"), ("vllm:", "engine")):
        if metric.startswith(beginning):
            return name
    bare = next((metric.removesuffix(part) for part in _PARTS if metric.endswith(part)), metric)
    return "gateway" if {metric, bare} & _OF_GATEWAYS else "engine"


def rate(metric: str, *matchers: str, by: str = "") -> str:
    """Returns a counter's growth a second, over all pages; per value of the labels `by`."""
    return f"{_over('sum', by)} (rate({selected(metric, *matchers)}[{INTERVAL}]))"


def grown(metric: str, *matchers: str, by: str = "", within: str = "$__range") -> str:
    """Returns a counter's growth within a time, by default the one that the dashboard shows."""
    return f"{_over('sum', by)} (increase({selected(metric, *matchers)}[{within}]))"


def added(metric: str, *matchers: str, by: str = "") -> str:
    """Returns the sum of a gauge over all pages."""
    return f"{_over('sum', by)} ({selected(metric, *matchers)})"


def most(metric: str, *matchers: str, by: str = "") -> str:
    """Returns the highest value of a gauge. For what every gateway shows alike, that is the value."""
    return f"{_over('max', by)} ({selected(metric, *matchers)})"


def mean(metric: str, *matchers: str, by: str = "") -> str:
    """Returns the mean of a gauge over all pages."""
    return f"{_over('avg', by)} ({selected(metric, *matchers)})"


def quantile(part: float, metric: str, *matchers: str, by: str = "") -> str:
    """Returns the value of a histogram that this part of all is not above, by Prometheus' interpolation within a bucket."""
    return f"histogram_quantile({part:g}, {rate(f'{metric}_bucket', *matchers, by=', '.join(filter(None, ('le', by))))})"


def average(metric: str, *matchers: str, by: str = "") -> str:
    """Returns the mean value of what a histogram has counted."""
    return f"{rate(f'{metric}_sum', *matchers, by=by)} / ({rate(f'{metric}_count', *matchers, by=by)} > 0)"


def share(part: str, whole: str) -> str:
    """Returns a part of a whole: 0 where nothing of the part has ever been counted, and nothing where the whole is 0."""
    return f"({part} or 0 * {whole}) / ({whole} > 0)"


def or_zero(expr: str) -> str:
    """Returns one value, and 0 where there is none."""
    return f"{expr} or vector(0)"


def burn(bad: str, counted: str) -> str:
    """Returns by model and objective how many times faster than allowed the requests that miss an objective use its budget up.

    Args:
        bad: requests that missed it, by model and objective.
        counted: all of them.
    """
    objective = most("herd_slo_objective_ratio", MODEL, by="model, objective")
    return f"({share(bad, counted)}) / (1 - {objective})"


def _over(function: str, by: str) -> str:
    return f"{function} by ({by})" if by else function
