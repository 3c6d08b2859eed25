"""`deployments.ray_calls.names`: no two models share an application."""

from hypothesis import given
from hypothesis import strategies as st

from configs.schema import Model
from deployments.ray_calls.names import GATEWAY, app_name
from tests.unit.samples import raw

IDS = raw(Model).map(lambda model: str(model["id"]))


@given(IDS | st.sampled_from(["a/b", "a.b", "a-b", "gateway"]), IDS | st.sampled_from(["a/b", "a.b", "a-b", "gateway"]))
def test_applications_are_as_different_as_models(one: str, other: str) -> None:
    assert (app_name(one) == app_name(other)) == (one == other)
    assert app_name(one) != GATEWAY
    assert "/" not in app_name(one)
