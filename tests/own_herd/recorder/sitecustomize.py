"""Python runs this at its start where this folder is on its path: it writes each turn of scaling to the file that `HERD_TURNS` names.

So Ray Serve's own controller, which decides, keeps the log of its decisions, and production's code knows nothing of it. Nothing is imported
before production imports it.
"""

import os
import sys
from collections.abc import Callable, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType
from typing import Any

TURNS = "deployments.policy.scaling.turn"


def recorded(turn: Callable[..., Any], path: str) -> Callable[..., Any]:
    """Wraps the function of one turn. The memory before it is written where it is not the last turn's."""
    last: Any = None

    def recording(memory: Any, seen: Any, wanted: Any, now_s: float) -> Any:
        nonlocal last
        import msgspec

        from deployments.policy.scaling.wanted import as_plain

        decision, after = turn(memory, seen, wanted, now_s)
        line = {"now_s": now_s, "seen": seen, "target": decision.target, "reason": decision.reason}
        if memory is not last:
            line |= {"memory": memory, "wanted": as_plain(wanted)}
        last = after
        with open(path, "ab") as log:
            log.write(msgspec.json.encode(line) + b"\n")
        return decision, after

    return recording


class Finder(MetaPathFinder):
    """Wraps the function when its module is loaded."""

    def find_spec(self, name: str, _path: Sequence[str] | None, _target: ModuleType | None = None) -> ModuleSpec | None:
        """Returns the module's own spec, whose loader wraps the function at last; None for any other module."""
        if name != TURNS:
            return None
        sys.meta_path.remove(self)
        spec = find_spec(name)
        assert spec is not None
        assert spec.loader is not None
        run = spec.loader.exec_module

        def runs(module: ModuleType) -> None:
            run(module)
            vars(module)["turn"] = recorded(vars(module)["turn"], os.environ["HERD_TURNS"])

        vars(spec.loader)["exec_module"] = runs
        return spec


if "HERD_TURNS" in os.environ:
    sys.meta_path.insert(0, Finder())
