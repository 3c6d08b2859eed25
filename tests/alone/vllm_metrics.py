"""The metrics that the installed vLLM exports, read from its source: their names as Prometheus sees them."""

import ast
import importlib.util
from collections.abc import Iterator
from pathlib import Path

#: What Prometheus' client adds to a name, by the kind of the metric.
ENDINGS = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count"), "gauge": ("",)}
#: The files that define them: the engine's own, those of speculative decoding, and those of NIXL.
FILES = ("v1/metrics/loggers.py", "v1/spec_decode/metrics.py", "distributed/kv_transfer/kv_connector/v1/nixl/stats.py")


def exported() -> set[str]:
    """All names."""
    spec = importlib.util.find_spec("vllm")
    assert spec is not None
    assert spec.origin is not None
    folder = Path(spec.origin).parent
    return {name for file in FILES for name in _names(ast.parse((folder / file).read_text(encoding="utf-8")))}


def _names(module: ast.Module) -> Iterator[str]:
    for node in ast.walk(module):
        match node:
            case ast.Call(func=func, args=args, keywords=keywords):
                kind = next((kind for kind in ENDINGS if kind in ast.unparse(func).lower()), None)
                yield from _endings(kind, [*args, *(keyword.value for keyword in keywords)])
            case ast.Assign(targets=[ast.Name("counter_specs")], value=ast.List(rows)):
                yield from (name for row in rows if isinstance(row, ast.Tuple) for name in _endings("counter", row.elts))


def _endings(kind: str | None, given: list[ast.expr]) -> Iterator[str]:
    names = [one.value for one in given if isinstance(one, ast.Constant) and isinstance(one.value, str) and one.value.startswith("vllm:")]
    if kind is not None:
        yield from ((name.removesuffix("_total") if kind == "counter" else name) + ending for name in names for ending in ENDINGS[kind])
