"""The address of a gateway: what it may be, whose certificates are trusted, and when a key is shown."""

import ssl
from pathlib import Path

import pytest

from configs.load import environment
from deployments.commands.using.cards import cards
from deployments.commands.using.endpoint import at, named
from deployments.lifecycle.herd import OperationError
from tests.path.certificates import authority
from tests.unit.deployments.commands.fake_gateway import serving

NOTHING = environment({})


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ("http://host:8000", "http://host:8000"),
        ("http://host:8000/", "http://host:8000"),
        ("https://llm.example.com/v1/", "https://llm.example.com"),
        ("https://example.com/llm/v1", "https://example.com/llm"),
        ("http://[::1]:8000/v1", "http://[::1]:8000"),
    ],
)
def test_address_is_taken_with_and_without_v1(given: str, url: str) -> None:
    assert at(given, None, NOTHING).url == url


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ("host:8000", "is no address of a gateway"),
        ("ftp://host", "is no address of a gateway"),
        ("http://host:port", "is no address"),
        ("http://host?key=1", "is no address of a gateway"),
        ("http://me:hunter2@host", "set OPENAI_API_KEY instead"),
    ],
)
def test_other_words_are_refused_with_the_way_out(given: str, why: str) -> None:
    with pytest.raises(OperationError, match=why) as refused:
        at(given, None, NOTHING)
    assert "hunter2" not in str(refused.value)


def test_address_and_name_of_a_herd_contradict_each_other(tmp_path: Path) -> None:
    given = environment({"HERD_STATE": str(tmp_path)})
    with pytest.raises(OperationError, match="give one of them"):
        named("http://host", None, "mine", given)
    with pytest.raises(OperationError, match="--ca is for --url"):
        named(None, tmp_path / "ca.pem", None, given)
    with pytest.raises(OperationError, match="No herd is up"):
        named(None, None, None, given)


def test_key_is_shown_to_a_gateway_that_asks_for_one_and_to_no_other() -> None:
    given = environment({"OPENAI_API_KEY": "sk-mine"})
    with serving() as gateway:
        endpoint = at(gateway.url, None, given)
        assert cards(endpoint)
        assert not endpoint.asks_for_key()
        assert [key for _, _, key in gateway.asked] == [None, None]
        gateway.key, gateway.asked = "sk-mine", []
        assert endpoint.asks_for_key()
        with endpoint.client() as client:
            assert client.get("/v1/models").status_code == 200
            assert client.get("/v1/models").status_code == 200
        assert [key for _, _, key in gateway.asked] == [None, None, "Bearer sk-mine", "Bearer sk-mine"], "asked once in a connection"


def test_missing_and_wrong_keys_are_told_apart() -> None:
    with serving() as gateway:
        gateway.key = "sk-right"
        with pytest.raises(OperationError, match="asks for an API key: set OPENAI_API_KEY"):
            cards(at(gateway.url, None, NOTHING))
        with pytest.raises(OperationError, match="the one in OPENAI_API_KEY is not right"):
            cards(at(gateway.url, None, environment({"OPENAI_API_KEY": "sk-wrong"})))


def test_key_is_in_no_text_of_an_endpoint() -> None:
    assert "sk-mine" not in repr(at("http://host", None, environment({"OPENAI_API_KEY": "sk-mine"})))


@pytest.mark.parametrize("models", ["none", [{"name": "x"}]])
def test_server_that_is_no_gateway_is_told(models: object) -> None:
    with serving() as gateway:
        gateway.models = models
        with pytest.raises(OperationError, match="is no list of models"):
            cards(at(gateway.url, None, NOTHING))
        with pytest.raises(OperationError, match="does not answer as a gateway does"):
            at(gateway.url, None, NOTHING).get("/other")
    with pytest.raises(OperationError, match="Is the address right"):
        at(gateway.url, None, NOTHING).get("/v1/models")


def test_certificates_of_the_system_or_of_one_file_are_trusted(tmp_path: Path) -> None:
    signed = authority(tmp_path).node()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(signed.certificate, signed.key)
    with serving(context) as gateway:
        with pytest.raises(OperationError, match="CERTIFICATE_VERIFY_FAILED"):
            cards(at(gateway.url, None, NOTHING))
        address = gateway.url.replace("127.0.0.1", "localhost")
        with pytest.raises(OperationError, match=r"IP address mismatch|Hostname mismatch|certificate is not valid"):
            cards(at(address, Path(signed.authority), NOTHING))
    with pytest.raises(OperationError, match="cannot be read as certificates"):
        at("https://host", tmp_path / "nothing.pem", NOTHING)
