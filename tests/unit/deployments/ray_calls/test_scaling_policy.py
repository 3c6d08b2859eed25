"""What Ray Serve's context says, and the release of the modules that this process has loaded."""

from importlib.metadata import version
from types import SimpleNamespace

from deployments.ray_calls.names import app_name
from deployments.ray_calls.scaling_policy import RELEASE, Told, told


def test_context_says_the_model_and_two_numbers() -> None:
    context = SimpleNamespace(app_name=app_name("org/scout"), target_num_replicas=3, current_num_replicas=2)
    assert told(context) == Told("org/scout", 3, 2)


def test_release_is_the_installed_one() -> None:
    assert version("llama-herd") == RELEASE
