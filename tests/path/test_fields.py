"""What a request says reaches an engine only where it may: refusals over sockets, before any engine is asked."""

import asyncio
import itertools
import json
from collections import Counter
from collections.abc import Awaitable
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from configs.requests import Requests
from configs.schema import Model
from deployments.gateway.body import reading
from deployments.gateway.body.turns import Turns
from deployments.gateway.body.writing import written
from deployments.policy.body.bounds import MIB
from deployments.policy.body.structure import Structure
from deployments.policy.errors.client_errors import BadRequest, UnknownModel
from deployments.policy.request.served_models import catalog
from tests.path.conftest import Start
from tests.path.fake_engine import FakeEngine, answers, fake_engine
from tests.path.herd import CHAT, LLAMA, MODELS, Herd, asking, herd_of, limits
from tests.path.wire import connected, request
from tests.unit.samples import JSON

pytestmark = pytest.mark.asyncio(loop_scope="session")

SAID = [{"role": "user", "content": "Hi"}]
PATHS: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"messages": SAID},
    "/v1/completions": {"prompt": "Hi"},
    "/v1/responses": {"input": "Hi"},
    "/v1/messages": {"messages": SAID, "max_tokens": 4},
    "/v1/messages/count_tokens": {"messages": SAID},
    "/v1/embeddings": {"input": "Hi"},
    "/tokenize": {"prompt": "Hi"},
    "/detokenize": {"tokens": [1]},
}
REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"mm_processor_kwargs": {"size": {"height": 672, "width": 672}}}, "mm_processor_kwargs"),
    ({"media_io_kwargs": {"image": {}}}, "media_io_kwargs"),
    ({"kv_transfer_params": {"do_remote_prefill": True}}, "kv_transfer_params"),
    ({"ec_transfer_params": {}}, "ec_transfer_params"),
    ({"vllm_xargs": {"kv_transfer_params": "x"}}, "vllm_xargs"),
    ({"priority": -(2**63)}, "priority"),
    ({"cache_salt": "x"}, "cache_salt"),
    ({"chat_template": "{{ messages }}"}, "chat_template"),
    ({"n": 129}, "n"),
    ({"best_of": 100}, "best_of"),
    ({"guided_choice": ["a"]}, "guided_choice"),
]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(("more", "param"), REFUSED, ids=[param for _, param in REFUSED])
async def test_field_that_no_engine_may_get(herd: Herd, engine: FakeEngine, path: str, more: dict[str, Any], param: str) -> None:
    answer = await herd.http.post(path, json={"model": LLAMA, **PATHS[path], **more})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)
    assert not engine.requests


@pytest.mark.parametrize("path", PATHS)
async def test_each_endpoint_is_forwarded(herd: Herd, engine: FakeEngine, path: str) -> None:
    engine.script = answers(200, {"input_tokens": 3})
    answer = await herd.http.post(f"{path}?beta=true", json={"model": LLAMA, **PATHS[path]})
    assert (answer.status_code, answer.json()) == (200, {"input_tokens": 3})
    assert engine.requests[-1].path == path


@pytest.mark.parametrize("many", [[[]] * 36_000, [{"a": 1}] * 1000, None, "Hi", [{"role": "user", "content": [[]]}]])
@pytest.mark.parametrize(("path", "field"), [(CHAT, "messages"), ("/v1/responses", "input"), ("/v1/messages", "messages")])
async def test_wrong_elements_are_answered_at_once_and_in_short(herd: Herd, engine: FakeEngine, path: str, field: str, many: Any) -> None:
    if (path, many) == ("/v1/responses", "Hi"):
        return
    answer = await herd.http.post(path, json={"model": LLAMA, "max_tokens": 1, field: many})
    assert answer.status_code == 400
    assert answer.json()["error"]["param"].startswith(field)
    assert len(answer.content) < 1000
    assert not engine.requests


async def test_text_that_no_context_holds_is_refused_before_it_is_tokenized(herd: Herd, engine: FakeEngine) -> None:
    for path, field in (("/tokenize", "prompt"), ("/v1/completions", "prompt"), ("/v1/embeddings", "input"), (CHAT, "messages")):
        text = "ab " * 500_000
        answer = await herd.http.post(path, json={"model": LLAMA, field: [{"role": "user", "content": text}] if path == CHAT else text})
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "context_length_exceeded"), path
    assert not engine.requests


@pytest.mark.parametrize("path", ["/v1/messages", "/v1/messages/count_tokens"])
@pytest.mark.parametrize("given", [{"source": "ab " * 500_000}, {"image_url": {"url": "ab " * 500_000}}, {"ab " * 500_000: 1}])
async def test_text_that_no_context_holds_hides_in_no_tool_call(herd: Herd, engine: FakeEngine, path: str, given: dict[str, Any]) -> None:
    block = {"type": "tool_use", "id": "1", "name": "f", "input": given}
    body = {"model": LLAMA, "max_tokens": 1, "messages": [*SAID, {"role": "assistant", "content": [block]}]}
    answer = await herd.http.post(path, json=body)
    assert (answer.status_code, answer.json()["error"]["type"]) == (400, "invalid_request_error")
    assert "'messages' has 15000" in answer.json()["error"]["message"]
    assert not engine.requests


@pytest.mark.parametrize("path", [CHAT, "/tokenize"])
async def test_text_that_no_context_holds_hides_in_no_tools(herd: Herd, engine: FakeEngine, path: str) -> None:
    tool = {"type": "function", "function": {"name": "f", "parameters": {"source": "ab " * 20_000}}}
    answer = await herd.http.post(path, json={"model": LLAMA, "messages": SAID, "tools": [tool] * 128})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "tools")
    assert not engine.requests


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    "field", ["tools", "tool_choice", "messages", "input", "system", "prompt", "documents", "stream", "n", "background"]
)
async def test_field_that_an_api_lacks_may_hold_anything(herd: Herd, engine: FakeEngine, path: str, field: str) -> None:
    """What the gateway reads of it elsewhere must not be taken for what it is here."""
    async with fake_engine() as other:
        herd.has(engine, other)  # where there is a choice, the prompt is looked at
        strange = [10**30, [10**30, {"content": 7}], {"content": [{"type": ["x"]}], "output": 7}, [[{"image_url": []}]], True, "x" * 300]
        for value in strange:
            engine.script = other.script = answers(200, {"input_tokens": 3})
            answer = await herd.http.post(path, content=json.dumps({"model": LLAMA, "x": "x" * 100, **PATHS[path], field: value}))
            assert answer.status_code in (200, 400), (value, answer.text)


@pytest.mark.parametrize("path", PATHS)
async def test_name_that_a_client_made_up_is_not_repeated_at_length(herd: Herd, engine: FakeEngine, path: str) -> None:
    name = "k" * (2 * MIB)
    for more in ({f"herd_{name}": 1}, {f"{name}_transfer_params": 1}, {"repetition_detection": {name: 1}}):
        answer = await herd.http.post(path, json={"model": LLAMA, **PATHS[path], **more})
        if answer.status_code != 200:  # not each API has the last one
            error = answer.json()["error"]
            assert (answer.status_code, error["type"]) == (400, "invalid_request_error")
            assert len(answer.content) < 10_000
            assert error["param"] in {*more} | {f"repetition_detection.{name}"} or error["param"].endswith("…")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("structured_outputs", {"regex": "[a-z]?" * 80}),
        ("structured_outputs", {"grammar": "root ::= " + "[a-z]? " * 80}),
        ("structured_outputs", {"json": json.dumps({"type": "string", "pattern": "[a-z]?" * 80})}),
        ("response_format", {"type": "json_schema", "json_schema": {"name": "x", "schema": {"pattern": "[a-z]?" * 80}}}),
        ("tools", [{"type": "function", "function": {"name": "x", "parameters": {"pattern": "[a-z]?" * 80}}}]),
    ],
)
async def test_pattern_that_compiles_for_long_is_refused_before_an_engine_sees_it(
    herd: Herd, engine: FakeEngine, field: str, value: Any
) -> None:
    answer = await herd.http.post(CHAT, json={"model": LLAMA, "messages": SAID, field: value})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, field)
    assert "Put literals between them" in answer.json()["error"]["message"]
    assert not engine.requests


async def test_token_id_behind_the_last_one_is_refused(herd: Herd, engine: FakeEngine) -> None:
    answer = await herd.http.post("/v1/completions", json={"model": LLAMA, "prompt": [128_255, 128_256]})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "prompt")
    assert not engine.requests


async def test_alias_is_replaced_and_nothing_else(herd: Herd, engine: FakeEngine) -> None:
    body = b'{ "model" : "llama", "messages": [{"role":"user","content":"\\u00e9"}], "own": {"x": 1.50} }'
    assert (await herd.http.post(CHAT, content=body)).status_code == 200
    assert engine.requests[-1].body.startswith(body[:-2])
    assert engine.requests[-1].json["model"] == LLAMA


@pytest.mark.parametrize(("said", "status", "kept"), [("pass", 200, True), ("drop", 200, False), ("refuse", 400, False)])
async def test_unknown_field_is_treated_as_the_config_says(limited: Start, engine: FakeEngine, said: str, status: int, kept: bool) -> None:
    herd = await limited()
    herd.apply(requests={"unknown_fields": said})
    assert (await herd.chat(nobody_knows={"a": 1})).status_code == status
    if status == 200:
        assert engine.requests[-1].json == asking() | ({"nobody_knows": {"a": 1}} if kept else {})


def attack(name: str, model: str, size: int) -> bytes:
    """A body of about so many bytes that would take long to decode."""
    begin = b'{"model":"%b","messages":' % model.encode()
    return {
        "lists": lambda: begin + b"[" + b"[]," * (size // 3) + b"[]]}",
        "objects": lambda: begin + b"[" + b'{"a":{}},' * (size // 9) + b"[]]}",
        "strings": lambda: begin + b"[" + b'"",' * (size // 3) + b'""]}',
        "numbers": lambda: begin + b"[" + b"1," * (size // 2) + b"1]}",
        "names": lambda: b"{" + b"".join(b'"%d":1,' % number for number in range(size // 12)) + begin[1:] + b"1}",
        "depth": lambda: begin + b"[" * (size // 2) + b"]" * (size // 2) + b"}",
        "text": lambda: begin + b'[{"role":"user","content":"' + b"The llama, an animal, is [1]. " * (size // 30) + b'"}]}',
        "escapes": lambda: begin + b'[{"role":"user","content":"' + b"\\n\\u00e9" * (size // 8) + b'"}]}',
        "quotes": lambda: begin + b'"' + b'\\"' * (size // 2) + b'"}',
        "exponents": lambda: begin + b"[" + b"5e-324," * (size // 7) + b"1]}",
        "digits": lambda: begin + b"[" + b"%b," % (b"7" * 4000) * (size // 4001) + b"1]}",
        "fraction": lambda: begin + b"0." + b"1" * size + b"}",
        "spaces": lambda: begin + b" " * (17 * MIB) + b"1}",
    }[name]()


ATTACKS = [
    "lists", "objects", "strings", "numbers", "names", "depth", "text", "escapes", "quotes", "exponents", "digits", "fraction", "spaces"
]  # fmt: skip


@pytest.mark.parametrize("model", ["nosuch", LLAMA])
@pytest.mark.parametrize("name", ATTACKS)
async def test_large_body_that_is_an_attack_is_refused_in_short(herd: Herd, engine: FakeEngine, name: str, model: str) -> None:
    answer = await herd.http.post(CHAT, content=attack(name, model, MIB))
    assert answer.status_code in (400, 404, 413)
    assert len(answer.content) < 1000
    assert not engine.requests


@pytest.mark.parametrize("name", ["exponents", "depth"])
async def test_small_body_whose_numbers_take_long_to_decode_is_refused_undecoded(herd: Herd, engine: FakeEngine, name: str) -> None:
    answer = await herd.http.post(CHAT, content=attack(name, LLAMA, 60_000))
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "request_too_large" if name == "exponents" else "invalid_json")
    plain = [3.5e-7] * 1500 + [10**17] * 2000
    assert (await herd.http.post(CHAT, json=asking() | {"own": plain})).status_code == 200
    assert engine.requests[-1].json["own"] == plain


def _many(count: int, size: int) -> dict[str, Any]:
    urls = [{"type": "image_url", "image_url": {"url": "data:," + "A" * size}} for _ in range(count)]
    return asking() | {"messages": [{"role": "user", "content": urls}]}


#: Bodies that are accepted, of about 20 MiB.
TAKEN: dict[str, dict[str, Any]] = {
    "images": _many(20, MIB - 100),
    "parts": _many(9000, 2000),
    "messages": asking() | {"messages": [{"role": "user", "content": "x" * 2000}] * 9000},
    "fields": asking() | {f"a{number}": "x" * (MIB - 100) for number in range(20)},
    "names": asking() | {f"a{number}": "x" * 400 for number in range(49_000)},
    "numbers": asking() | {"prompt": [10**17] * 131_000, "pad": ["x" * MIB] * 3},
    "deep": asking() | {"a": [[[[[[[[{"b": ["x" * 1000] * 900}]]]]]]]] * 20},
}


class Work:
    """Notes the bytes that are worked at in each turn of the loop."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.turn = 0
        self.built: Counter[int] = Counter()
        self.scanned: Counter[int] = Counter()
        decode, encode, feed = msgspec.json.decode, msgspec.json.encode, Structure.feed

        def decoding(raw: Any, **how: Any) -> Any:
            (self.scanned if how else self.built)[self.turn] += len(raw)
            return decode(raw, **how)

        def encoding(value: Any) -> bytes:
            text = encode(value)
            self.built[self.turn] += len(text)
            return text

        def feeding(structure: Structure, piece: bytes) -> None:
            self.built[self.turn] += len(piece)
            feed(structure, piece)

        monkeypatch.setattr("msgspec.json.decode", decoding)
        monkeypatch.setattr("msgspec.json.encode", encoding)
        monkeypatch.setattr(Structure, "feed", feeding)

    async def during(self, work: Awaitable[Any]) -> Any:
        async def others() -> None:
            while True:
                await asyncio.sleep(0)
                self.turn += 1

        ticking = asyncio.create_task(others())
        try:
            return await work
        finally:
            ticking.cancel()

    def is_in_small_pieces(self, scanned: int) -> bool:
        """At most 4 MiB are built in a turn; a body's places are found in one go, which is ten times as fast, and once in a turn."""
        return max(self.built.values()) <= 4 * MIB and max(self.scanned.values(), default=0) <= scanned + 4 * MIB


@pytest.mark.parametrize("model", ["nosuch", LLAMA])
@pytest.mark.parametrize("name", [name for name in ATTACKS if name != "text"])
async def test_large_body_that_is_an_attack_is_looked_at_in_small_pieces(name: str, model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    body, known = attack(name, model, 20 * MIB), catalog(MODELS, created=1)
    work = Work(monkeypatch)
    with pytest.raises((BadRequest, UnknownModel)):
        await work.during(reading.read(body, known, Requests()))
    assert work.is_in_small_pieces(len(body))


@pytest.mark.parametrize("name", TAKEN)
async def test_large_body_that_is_taken_is_read_and_written_in_small_pieces(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = Model(id=LLAMA, kind="llama-3.1-8b", checkpoint="small:x", context_tokens=131_072)
    body, known = msgspec.json.encode(TAKEN[name]), catalog([model], created=1)
    work = Work(monkeypatch)
    read = await work.during(reading.read(body, known, Requests()))
    assert read == TAKEN[name]
    assert await work.during(written(read, len(body))) == body
    assert work.is_in_small_pieces(len(body))


async def test_field_that_is_left_out_of_a_large_body_takes_nothing_else_with_it(limited: Start, engine: FakeEngine) -> None:
    herd = await limited()
    herd.apply(requests={"unknown_fields": "drop"})
    assert (await herd.chat(nobody_knows="x" * (5 * MIB), metadata=None)).status_code == 200
    assert "nobody_knows" not in engine.requests[-1].json
    assert engine.requests[-1].json["messages"] == asking()["messages"]


@given(st.recursive(JSON, lambda inner: st.lists(inner, max_size=4), max_leaves=30))
async def test_value_that_is_written_piece_by_piece_is_the_same(value: Any) -> None:
    for whole in ({"a": value}, {}, {"a": [1] * 25_000, "b": value}):
        assert await written(whole, 1 << 30) == msgspec.json.encode(whole)


async def test_large_body_is_read_piece_by_piece_and_forwarded_as_it_is(engine: FakeEngine) -> None:
    served = Model(id=LLAMA, kind="llama-3.1-8b", checkpoint="small:x", context_tokens=131_072)
    texts = [{"type": "text", "text": "\u00e9\n" * size} for size in (1, 300_000, 1)]
    padding: list[Any] = ["y" * (3 * MIB), {"a": ["z" * (2 * MIB), None]}]
    async with herd_of([engine], limits(), models=(served,)) as herd:
        body = asking() | {"messages": [{"role": "user", "content": texts}], "padding": padding}
        assert (await herd.http.post(CHAT, json=body)).status_code == 200
        assert engine.requests[-1].json == body
        ids = list(range(1000)) * 131
        assert (
            await herd.http.post("/v1/completions", json={"model": LLAMA, "prompt": ids, "padding": "y" * (6 * MIB)})
        ).status_code == 200
        assert engine.requests[-1].json["prompt"] == ids
        broken = json.dumps(body).encode().replace(b'zz"', b'z\xff"')
        answer = await herd.http.post(CHAT, content=broken)
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_json")


@given(st.recursive(JSON, lambda inner: st.lists(inner, max_size=4), max_leaves=30), st.integers(0, 40))
async def test_value_that_is_decoded_piece_by_piece_is_the_same(value: Any, step: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("deployments.gateway.body.reading.STEP", step)
        patch.setattr("deployments.gateway.body.reading.PIECE", 5)
        assert await reading._values(reading._members(json.dumps({"a": value}).encode()), 1, Turns()) == {"a": value}


async def test_bodies_of_all_requests_are_bounded_together(limited: Start, engine: FakeEngine) -> None:
    herd = await limited(bodies_mib=1)
    half = json.dumps(asking() | {"pad": "x" * (700 << 10)}).encode()
    async with connected(herd.port) as client:
        await client.send(request(headers=(f"content-length: {len(half)}",)) + half[:-1])
        for attempt in itertools.count():
            refused = await herd.http.post(CHAT, content=half)
            if refused.status_code == 503 or attempt == 100:
                break
            await asyncio.sleep(0.02)
        assert (refused.status_code, refused.json()["error"]["code"], refused.headers["retry-after"]) == (503, "bodies_full", "5")
        assert (await herd.chat()).status_code == 200
        await client.send(half[-1:])
        assert (await client.answer())[0] == 200
    assert (await herd.http.post(CHAT, content=half)).status_code == 200
    assert herd.ended("unavailable", model="unknown") == 1
