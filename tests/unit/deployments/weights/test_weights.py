"""`cluster.catalogue.weights`: what is wanted of a repository, on which nodes, and who gets it from whom."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from cluster.catalogue.weights import (
    FAN_OUT,
    File,
    Manifest,
    Node,
    Room,
    Source,
    may_serve,
    newest,
    shortages,
    size,
    source_of,
    sources_of,
    upstreams,
    wanted,
)
from configs.names import Accelerator

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def file(path: str, size_bytes: int = 1, digest: str = "a" * 64) -> File:
    return File(path=path, size_bytes=size_bytes, digest=digest)


def manifest(*files: File, resolved_s: float = 1, commit: str = COMMIT) -> Manifest:
    return Manifest(repository="a/b", revision="main", commit=commit, resolved_s=resolved_s, files=files)


def node(name: str, address: str = "", **resources: float) -> Node:
    return Node(name, address or name, {key.replace("type_", "type:"): value for key, value in resources.items()})


@pytest.mark.parametrize(
    ("checkpoint", "revision", "source"),
    [
        ("meta-llama/Llama-4-Scout", None, Source("meta-llama/Llama-4-Scout")),
        ("meta-llama/Llama-4-Scout", "v2", Source("meta-llama/Llama-4-Scout", "v2")),
        ("meta-llama/Llama-4-Scout@v1", None, Source("meta-llama/Llama-4-Scout", "v1")),
        ("meta-llama/Llama-4-Scout@refs/pr/1", "v2", Source("meta-llama/Llama-4-Scout", "refs/pr/1")),
        ("gpt2", None, Source("gpt2")),
        ("meta-llama/Llama-4-Scout@", None, None),
        ("a/b@../../etc", None, None),
        ("a/b@x/..", None, None),
        ("/models/Scout", None, None),
        ("./Scout", None, None),
        ("small:smollm2", None, None),
        ("s3://bucket/scout", None, None),
        ("a/b/c", None, None),
    ],
)
def test_checkpoint_names_a_source_or_none(checkpoint: str, revision: str | None, source: Source | None) -> None:
    assert source_of(checkpoint, revision) == source


def test_source_says_its_revision_where_it_is_not_the_usual_one() -> None:
    assert [str(Source("a/b")), str(Source("a/b", "v1"))] == ["a/b", "a/b@v1"]
    assert [Source("a/b").pinned, Source("a/b", COMMIT).pinned] == [False, True]


def test_tokenizer_and_draft_model_are_wanted_too() -> None:
    engine = {
        "tokenizer": "a/tokenizer",
        "tokenizer_revision": "t",
        "speculative_config": {"model": "a/draft", "num_speculative_tokens": 3},
        "download_dir": "/fast",
    }
    assert sources_of("a/b", engine) == {
        "checkpoint": Source("a/b", cache="/fast"),
        "tokenizer": Source("a/tokenizer", "t", "/fast"),
        "draft": Source("a/draft", cache="/fast"),
    }
    assert sources_of("/models/b", {"tokenizer": "/t", "speculative_config": {"method": "ngram"}}) == {}
    assert sources_of("/models/b", {"speculative_config": "a/draft"}) == {}


def test_formats_that_read_no_disk_want_nothing() -> None:
    assert sources_of("a/b", {"load_format": "dummy"}) == {}
    assert sources_of("a/b", {"load_format": "auto"}) == {"checkpoint": Source("a/b")}


BESIDE = ["chat_template.jinja", "config.json", "merges.txt", "tokenizer.json", "tokenizer.model"]


@pytest.mark.parametrize(
    ("there", "taken"),
    [
        (["m-1.safetensors", "m-2.safetensors", "consolidated.safetensors", "pytorch_model.bin"], ["m-1.safetensors", "m-2.safetensors"]),
        (["consolidated.safetensors", "pytorch_model.bin"], ["consolidated.safetensors"]),
        (["pytorch_model-1.bin", "training_args.bin", "x.pth"], ["pytorch_model-1.bin"]),
        (["original/consolidated.00.pth", "original/tokenizer.model", "onnx/model.safetensors"], []),
        (["2_Dense/model.safetensors", "2_Dense/config.json"], ["2_Dense/config.json", "2_Dense/model.safetensors"]),
        (["README.md", "modeling.py", "images/a.png", ".gitattributes", "model.gguf"], []),
    ],
)  # fmt: skip
def test_engine_wants_weights_of_one_kind_and_what_is_beside_them(there: list[str], taken: list[str]) -> None:
    found = wanted(file(path) for path in [*there, *BESIDE])
    assert [one.path for one in found] == sorted([*taken, *BESIDE])


@pytest.mark.parametrize("path", ["../config.json", "/etc/passwd", "a/../../b.json", "a\\b.json", "a\0.json", ""])
def test_path_out_of_a_repository_is_no_file(path: str) -> None:
    with pytest.raises(ValidationError):
        file(path)


@pytest.mark.parametrize("digest", ["", "a" * 63, "A" * 64, "../" + "a" * 61])
def test_digest_is_a_name_that_is_safe_on_a_disk(digest: str) -> None:
    with pytest.raises(ValidationError):
        file("config.json", digest=digest)


def test_same_content_is_counted_once() -> None:
    assert manifest(file("a.json", 5), file("b.json", 5), file("c.json", 7, "b" * 64)).size_bytes == 12


def test_newest_is_what_the_hub_was_asked_last() -> None:
    old, new = manifest(resolved_s=1), manifest(resolved_s=2)
    assert newest([old, None, new]) == new
    assert newest([None]) is None


H100 = node("h100", CPU=8, GPU=8, accelerator_type_H100=1)
L40S = node("l40s", CPU=8, GPU=4, accelerator_type_L40S=1)
HEAD = node("head", CPU=4)
IDLE = node("idle")


@pytest.mark.parametrize(
    ("accelerator", "able"),
    [("H100", [H100]), ("gpu", [H100, L40S]), ("auto", [H100, L40S]), ("cpu", [H100, L40S, HEAD]), ("MI300X", [])],
)
def test_nodes_that_may_serve(accelerator: Accelerator, able: list[Node]) -> None:
    assert list(may_serve(accelerator, [H100, IDLE, L40S, HEAD])) == able


def test_auto_means_cpus_where_there_is_no_gpu() -> None:
    assert may_serve("auto", [HEAD, IDLE]) == (HEAD,)


def test_one_gets_all_from_the_hub_and_the_others_hang_below() -> None:
    assert upstreams("abcdefg", 0) == {"a": None, "b": "a", "c": "a", "d": "b", "e": "b", "f": "c", "g": "c"}
    assert upstreams("abcdef", 2) == {"a": None, "b": None, "c": "a", "d": "a", "e": "b", "f": "b"}
    assert upstreams("", 0) == {}


@given(st.integers(0, 200), st.integers(0, 20), st.sets(st.integers(0, 199)))
def test_tree_is_flat_and_nobody_waits_in_a_circle_however_many_go_away(count: int, holders: int, lost: set[int]) -> None:
    order = list(range(count))
    before = upstreams(order, min(holders, count))
    left = [one for one in order if one not in lost]
    after = upstreams(left, sum(one < holders for one in left))
    for tree in (before, after):
        assert all(above is None or above < one for one, above in tree.items())  # also in a mixture of both
        above = [one for one in tree.values() if one is not None]
        assert all(above.count(one) <= FAN_OUT for one in above)
        assert all(above is not None for above in list(tree.values())[max(holders, 1) :])
    assert not set(after) & lost
    assert not set(after.values()) & lost


def test_disk_that_is_too_small_is_told_with_its_numbers() -> None:
    rooms = {"10.0.0.1": Room("/cache", 217 * 2**30, 100 * 2**30), "10.0.0.2": Room("/cache", 10, 10)}
    (sentence,) = shortages(rooms)
    assert sentence.startswith("10.0.0.1: 217.0 GiB are still to come to /cache, 100.0 GiB are free there.")


@pytest.mark.parametrize(("count", "said"), [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (5 << 20, "5.0 MiB"), (3 << 40, "3.0 TiB")])
def test_sizes_are_read_by_people(count: int, said: str) -> None:
    assert size(count) == said
