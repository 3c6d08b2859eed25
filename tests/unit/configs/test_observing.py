"""What a config may say of traces and of the access log."""

import pytest
from pydantic import ValidationError

from configs.observing import Observing, Tracing


@pytest.mark.parametrize(
    "endpoint",
    [
        "http://collector:4318/v1/traces",
        "https://otel.example.com/v1/traces",
        "http://10.0.0.7:4318/otlp/v1/traces",
        "http://[fd00::7]:4318/v1/traces",
    ],
)
def test_collector_is_named_by_its_address(endpoint: str) -> None:
    assert Tracing(endpoint=endpoint).sample_ratio == 0.01


@pytest.mark.parametrize(
    "endpoint", ["collector:4318", "grpc://collector:4317", "http://user:password@collector/v1/traces", "http://collector/v1?key=abc", ""]
)
def test_address_with_a_secret_or_of_another_protocol_is_refused(endpoint: str) -> None:
    with pytest.raises(ValidationError):
        Tracing(endpoint=endpoint)


@pytest.mark.parametrize("endpoint", ["http://10.0.0.7:4318", "http://10.0.0.7:4318/"])
def test_collector_without_the_path_of_spans_is_refused_with_it(endpoint: str) -> None:
    with pytest.raises(ValidationError, match=r"has no path; spans are taken at http://10\.0\.0\.7:4318/v1/traces"):
        Tracing(endpoint=endpoint)


@pytest.mark.parametrize(
    "endpoint", ["http://:4318/v1/traces", "http://a:b:c/v1/traces", "http://a:99999/v1/traces", "http://a:0/v1/traces"]
)
def test_address_of_no_collector_is_refused(endpoint: str) -> None:
    with pytest.raises(ValidationError):
        Tracing(endpoint=endpoint)


def test_by_default_nothing_is_traced_and_only_requests_that_did_not_end_well_have_lines() -> None:
    assert (Observing().tracing, Observing().access_log) == (None, "errors")
    assert Observing.model_validate({"access_log": False}).access_log == "off", "YAML's off"
    with pytest.raises(ValidationError):
        Observing.model_validate({"access_log": True})
