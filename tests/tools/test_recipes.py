"""The recipes of `CONTRIBUTING.md`, followed to the letter in a copy of the code."""

import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tests.tools.documents import ROOT, text_of

PICK = """
from configs.routing import Routing
from deployments.policy.routing import policies
from deployments.policy.routing.router import Router
from deployments.policy.routing.types import Ask, ReplicaState, ReplicaView

def replica(name, step_s):
    return ReplicaView(name, "scout", "10.0.0.1", 9000, ReplicaState.READY, 0, step_s=step_s)

def picked(**weights):
    router = Router(Routing(weights=weights))
    router.update([replica("a", 0.01), replica("b", 0.09)])
    return router.pick(Ask()).replica.id

assert policies.__file__.startswith(__import__("os").getcwd()), "the copy's code, not this one's"
print(picked(), picked(quick_steps=10.0))
"""


def block(recipe: str) -> str:
    """The code under a recipe's comment, without the indentation of the list that it stands in."""
    (code,) = re.findall(rf"<!-- recipe: {recipe} -->\n *```python\n(.*?)\n *```", text_of("CONTRIBUTING.md"), re.DOTALL)
    return "\n".join(line.removeprefix("   ") for line in code.splitlines()) + "\n"


def insert(path: Path, before: str, code: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.count(before) == 1, f"{path.name} has {before!r} {text.count(before)} times"
    path.write_text(text.replace(before, f"{code}{before}"), encoding="utf-8")


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The two folders that the recipe changes, and that import no others."""
    for folder in ("configs", "deployments/policy"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "deployments" / "__init__.py", tmp_path / "deployments")
    return tmp_path


def picks(copy: Path) -> list[str]:
    """Whom the copy's router picks without the new weight and with it."""
    done = subprocess.run([sys.executable, "-c", PICK], cwd=copy, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_scorer_of_the_recipe_decides_where_a_request_goes(copy: Path) -> None:
    policies = copy / "deployments" / "policy" / "routing" / "policies.py"
    insert(policies, "#: A replica is cold for so long.", textwrap.dedent(block("scorer")) + "\n\n")
    insert(policies, '        "warm_up": (warm_up, ', block("row"))
    insert(copy / "configs" / "routing.py", "\n\nclass Routing(", block("weight"))
    without, with_it = picks(copy)
    assert (without, with_it) == ("b", "a"), "the router prefers b for other reasons, and a for its short steps"
