"""Weights from a Hub into a cache, and from there to another node: whole, checked, gone on with, and each refusal with its way out.

The Hub is a fake over real sockets; what asks it is `huggingface_hub`, and what hands files on is the agents' own server.
"""

import asyncio
import errno
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import httpx2
import pytest
from huggingface_hub import close_session, constants, snapshot_download, try_to_load_from_cache
from pydantic import SecretStr

from cluster.catalogue.weights import Manifest, Room, Source
from deployments.weights.cache import Cache, WeightsError
from deployments.weights.files import DAMAGED_TIMES, Fetch
from deployments.weights.origins import FromHub, FromNode, HubUnreachable, resolve, told
from deployments.weights.server import FileServer
from tests.path.fake_hub import FakeHub, Repository, fake_hub, llama

NAME = "meta-llama/Llama-4-Tiny"
SHARD = "model-00001-of-00003.safetensors"
SECRET = "between nodes"


@pytest.fixture(autouse=True)
def _no_token(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))


@pytest.fixture
def hub() -> Iterator[FakeHub]:
    with fake_hub() as one:
        one.repositories[NAME] = Repository(llama())
        yield one
    close_session()


def fetch(hub: FakeHub, cache: Cache, manifest: Manifest | None = None) -> Fetch:
    manifest = manifest or resolve(Source(NAME), 1.0, hub.endpoint)
    origin = FromHub(cache, manifest, hub.endpoint)
    return Fetch(cache, manifest, lambda: origin)


def pulled(hub: FakeHub, root: Path) -> tuple[Cache, Manifest]:
    cache = Cache(root, NAME)
    one = fetch(hub, cache)
    one.run()
    return cache, one.manifest


def test_engine_finds_what_it_reads_and_nothing_else_came(hub: FakeHub, tmp_path: Path) -> None:
    cache, manifest = pulled(hub, tmp_path)
    folder = cache.snapshot(manifest.commit)
    there = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert there == {path: content for path, content in llama().items() if not path.startswith(("original/", "README"))}
    assert cache.complete(manifest)
    assert not list(tmp_path.rglob("*.incomplete"))


def test_what_is_pulled_is_what_hugging_faces_own_client_finds(hub: FakeHub, tmp_path: Path) -> None:
    cache, manifest = pulled(hub, tmp_path)
    folder = snapshot_download(NAME, cache_dir=tmp_path, local_files_only=True)
    assert folder == str(cache.snapshot(manifest.commit))
    assert try_to_load_from_cache(NAME, "config.json", tmp_path) == f"{folder}/config.json"


def test_what_hugging_faces_own_client_has_is_checked_and_not_downloaded_again(hub: FakeHub, tmp_path: Path) -> None:
    snapshot_download(NAME, cache_dir=tmp_path, endpoint=hub.endpoint)
    hub.downloads.clear()
    cache, manifest = pulled(hub, tmp_path)
    assert cache.complete(manifest)
    assert hub.downloads == []


def test_second_pull_downloads_nothing(hub: FakeHub, tmp_path: Path) -> None:
    pulled(hub, tmp_path)
    hub.downloads.clear()
    pulled(hub, tmp_path)
    assert hub.downloads == []


def test_connection_that_breaks_goes_on_where_it_stopped(hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 50_000)  # what the client keeps of a broken connection are whole chunks
    hub.break_after = [120_000]
    cache, manifest = pulled(hub, tmp_path)
    assert cache.complete(manifest)
    assert sorted(wanted for path, wanted in hub.downloads if path.endswith(".safetensors")) == ["", "", "", "bytes=100000-"]


def test_pull_that_was_ended_goes_on_where_it_stopped(hub: FakeHub, tmp_path: Path) -> None:
    """What another process left of a shard is not fetched again."""
    cache = Cache(tmp_path, NAME)
    one = fetch(hub, cache)
    shard = next(file for file in one.manifest.files if file.path == SHARD)
    cache.partial(shard).parent.mkdir(parents=True)
    cache.partial(shard).write_bytes(llama()[SHARD][:200_000])
    assert cache.arrived_bytes(one.manifest) == 200_000
    one.run()
    assert (SHARD, "bytes=200000-") in hub.downloads
    assert (SHARD, "") not in hub.downloads
    assert cache.complete(one.manifest)


def test_damaged_file_is_fetched_again(hub: FakeHub, tmp_path: Path) -> None:
    hub.damage = 1
    cache = Cache(tmp_path, NAME)
    one = fetch(hub, cache)
    one.run()
    assert len(one.damaged) == 1
    assert cache.complete(one.manifest)
    assert cache.damaged(one.manifest) == []


def test_file_that_is_always_damaged_is_never_served(hub: FakeHub, tmp_path: Path) -> None:
    hub.damage = 10_000
    cache = Cache(tmp_path, NAME)
    one = fetch(hub, cache)
    with pytest.raises(WeightsError, match=f"damaged {DAMAGED_TIMES} times"):
        one.run()
    assert not cache.complete(one.manifest)
    assert not cache.snapshot(one.manifest.commit).exists()


def test_begun_file_of_damaged_bytes_comes_whole_in_the_end(hub: FakeHub, tmp_path: Path) -> None:
    cache = Cache(tmp_path, NAME)
    one = fetch(hub, cache)
    shard = next(file for file in one.manifest.files if file.path == SHARD)
    cache.partial(shard).parent.mkdir(parents=True)
    cache.partial(shard).write_bytes(b"?" * 1000)
    one.run()
    assert one.damaged == [SHARD]
    assert cache.damaged(one.manifest) == []


def test_check_without_network_finds_a_changed_byte_and_the_next_pull_mends_it(hub: FakeHub, tmp_path: Path) -> None:
    cache, manifest = pulled(hub, tmp_path)
    hub.down = True
    shard = cache.snapshot(manifest.commit) / SHARD
    with shard.resolve().open("r+b") as content:
        content.seek(77)
        content.write(b"!")
    assert cache.known(Source(NAME)) == [manifest]
    assert cache.damaged(manifest) == [SHARD]
    assert not cache.complete(manifest)
    hub.down = False
    hub.downloads.clear()
    pulled(hub, tmp_path)
    assert hub.downloads == [(SHARD, "")]
    assert cache.damaged(manifest) == []


def test_missing_file_is_found_by_the_check(hub: FakeHub, tmp_path: Path) -> None:
    cache, manifest = pulled(hub, tmp_path)
    (cache.snapshot(manifest.commit) / SHARD).resolve().unlink()
    assert cache.damaged(manifest) == [SHARD]


def test_new_commit_brings_only_what_changed(hub: FakeHub, tmp_path: Path) -> None:
    cache, first = pulled(hub, tmp_path)
    hub.repositories[NAME] = Repository(llama() | {SHARD: b"new" * 1000}, commit="b" * 40)
    hub.downloads.clear()
    second = resolve(Source(NAME), 2.0, hub.endpoint)
    fetch(hub, cache, second).run()
    assert hub.downloads == [(SHARD, "")]
    assert cache.known(Source(NAME)) == [second, first]
    assert cache.known(Source(NAME, first.commit)) == [first]
    assert cache.complete(first)


def test_two_pulls_on_one_node_download_once(hub: FakeHub, tmp_path: Path) -> None:
    hub.pace_s = 0.02
    pulls = [threading.Thread(target=pulled, args=(hub, tmp_path)) for _ in range(3)]
    for one in pulls:
        one.start()
    for one in pulls:
        one.join(30)
    assert sorted(path for path, _ in hub.downloads) == sorted(path for path in llama() if not path.startswith(("original/", "README")))


def test_disk_that_is_too_small_is_known_before(hub: FakeHub, tmp_path: Path) -> None:
    cache = Cache(tmp_path / "not" / "there", NAME)
    room = cache.room([resolve(Source(NAME), 1.0, hub.endpoint)])
    assert room == Room(str(tmp_path / "not" / "there"), 900_000 + 10_000 + 24 + 14, room.free_bytes)
    assert room.free_bytes > 0
    pulled(hub, tmp_path / "not" / "there")
    assert cache.room([resolve(Source(NAME), 1.0, hub.endpoint)]).needed_bytes == 0


def test_manifest_that_is_none_is_passed_by(hub: FakeHub, tmp_path: Path) -> None:
    cache, manifest = pulled(hub, tmp_path)
    (next(tmp_path.rglob("herd")) / "broken.json").write_text("{", encoding="utf-8")
    assert cache.known(Source(NAME)) == [manifest]


def test_token_goes_to_the_hub_and_not_beyond(hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_mine")
    hub.repositories[NAME].gated_for = "hf_mine"
    cache, manifest = pulled(hub, tmp_path)
    assert cache.complete(manifest)
    assert set(hub.tokens_at_cdn) == {""}
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and b"hf_mine" in path.read_bytes()]


@pytest.mark.parametrize(
    ("name", "token", "revision", "sentence"),
    [
        ("meta-llama/Lama", None, "main", "The Hub has no repository meta-llama/Lama, or it is private and a token is needed"),
        ("meta-llama/Lama", "hf_x", "main", "its token may not see it"),
        (NAME, None, "main", "is gated, and on this node it has no token. Accept its licence at"),
        (NAME, "hf_x", "main", "its token has no access to it"),
        (NAME, None, "v9", "has no revision v9"),
        ("meta-llama/Papers", None, "main", "has no file that an engine reads"),
        ("meta-llama/Evil", None, "main", "the Hub's list of files cannot be used"),
    ],
)
def test_refusal_is_a_sentence_with_the_way_out(
    hub: FakeHub, monkeypatch: pytest.MonkeyPatch, name: str, token: str | None, revision: str, sentence: str
) -> None:
    if token:
        monkeypatch.setenv("HF_TOKEN", token)
    hub.repositories[NAME].gated_for = "hf_right"
    hub.repositories["meta-llama/Papers"] = Repository({"paper.pdf": b"%"})
    hub.repositories["meta-llama/Evil"] = Repository({"../../evil.json": b"{}"})
    with pytest.raises(WeightsError, match=sentence.replace("(", "\\(")) as refused:
        resolve(Source(name, revision), 1.0, hub.endpoint)
    assert "hf_" not in str(refused.value).replace("hf_hub", "")
    assert not isinstance(refused.value, HubUnreachable)


def test_hub_that_is_away_is_told_from_one_that_refuses(hub: FakeHub) -> None:
    with pytest.raises(HubUnreachable, match="cannot be reached"):
        resolve(Source(NAME), 1.0, "http://127.0.0.1:9")
    hub.down = True
    with pytest.raises(HubUnreachable, match="answers 503"):
        resolve(Source(NAME), 1.0, hub.endpoint)


def test_full_disk_in_the_middle_is_told() -> None:
    said = str(told(OSError(errno.ENOSPC, "no"), NAME, "main", SHARD))
    assert said.startswith(f"{SHARD} of {NAME} could not be stored (No space left on device)")
    assert isinstance(told(httpx2.ReadTimeout("slow"), NAME, "main"), HubUnreachable)


async def _served(cache: Cache, manifest: Manifest) -> tuple[FileServer, str]:
    server = FileServer(SecretStr(SECRET))
    server.offer(cache, manifest)
    return server, await server.start("127.0.0.1")


async def test_node_gets_everything_from_a_node(hub: FakeHub, tmp_path: Path) -> None:
    cache, manifest = await asyncio.to_thread(pulled, hub, tmp_path / "a")
    hub.downloads.clear()
    server, address = await _served(cache, manifest)
    other = Cache(tmp_path / "b", NAME)
    shard = next(file for file in manifest.files if file.path == SHARD)
    other.partial(shard).parent.mkdir(parents=True)
    other.partial(shard).write_bytes(llama()[SHARD][:123])  # begun before, from whomever
    origin = FromNode(address, SECRET)
    one = Fetch(other, manifest, lambda: origin)
    await asyncio.to_thread(one.run)
    await server.stop()
    assert (hub.downloads, one.damaged) == ([], [])
    assert other.complete(manifest)
    assert other.damaged(manifest) == []


async def test_node_waits_for_a_node_that_is_still_downloading(hub: FakeHub, tmp_path: Path) -> None:
    hub.pace_s = 0.02
    first, second = Cache(tmp_path / "a", NAME), Cache(tmp_path / "b", NAME)
    manifest = resolve(Source(NAME), 1.0, hub.endpoint)
    server, address = await _served(first, manifest)
    origin = FromNode(address, SECRET)
    await asyncio.gather(asyncio.to_thread(fetch(hub, first).run), asyncio.to_thread(Fetch(second, manifest, lambda: origin).run))
    await server.stop()
    assert second.complete(manifest)
    assert len([path for path, _ in hub.downloads if path == SHARD]) == 1


async def test_file_that_a_node_changed_is_not_taken(hub: FakeHub, tmp_path: Path) -> None:
    """A node gives what it checked once and was changed since without a trace: whoever gets it checks again."""
    cache, manifest = await asyncio.to_thread(pulled, hub, tmp_path / "a")
    server, address = await _served(cache, manifest)
    shard = next(file for file in manifest.files if file.path == SHARD)
    cache.blob(shard).write_bytes(b"x" * shard.size_bytes)
    cache._mark(shard).write_text(f"{shard.size_bytes} {cache.blob(shard).stat().st_mtime_ns}", encoding="utf-8")
    origin = FromNode(address, SECRET)
    other = Cache(tmp_path / "b", NAME)
    with pytest.raises(WeightsError, match="damaged 3 times"):
        await asyncio.to_thread(Fetch(other, manifest, lambda: origin).run)
    await server.stop()
    assert not other.complete(manifest)


async def test_only_who_knows_the_secret_gets_files_and_only_offered_ones(hub: FakeHub, tmp_path: Path) -> None:
    cache, manifest = await asyncio.to_thread(pulled, hub, tmp_path)
    server, address = await _served(cache, manifest)
    known = {"authorization": f"Bearer {SECRET}"}
    async with httpx.AsyncClient(base_url=f"http://{address}", trust_env=False, verify=False) as client:
        assert (await client.get(f"/{manifest.files[0].digest}")).status_code == 401
        assert (await client.get(f"/{manifest.files[0].digest}", headers={b"authorization": b"Bearer \xff"})).status_code == 401
        assert (await client.get(f"/{manifest.files[0].digest}", headers=known)).status_code == 200
        for path in (f"/{'0' * 64}", "/..%2f..%2fetc%2fpasswd", "/a/b"):
            assert (await client.get(path, headers=known)).status_code == 404
    other = Cache(tmp_path / "b", NAME)
    origin = FromNode(address, "another")
    with pytest.raises(WeightsError, match="HERD_SECRET"):
        await asyncio.to_thread(Fetch(other, manifest, lambda: origin).run)
    await server.stop()


async def test_node_that_goes_away_is_replaced_in_the_middle(hub: FakeHub, tmp_path: Path) -> None:
    cache, manifest = await asyncio.to_thread(pulled, hub, tmp_path / "a")
    gone, server = FromNode("127.0.0.1:9", SECRET), await _served(cache, manifest)
    whom = [gone]
    other = Cache(tmp_path / "b", NAME)
    work = asyncio.create_task(asyncio.to_thread(Fetch(other, manifest, lambda: whom[0]).run))
    await asyncio.sleep(0.5)
    assert not work.done()
    whom[0] = FromNode(server[1], SECRET)
    await asyncio.wait_for(work, 20)
    await server[0].stop()
    assert other.complete(manifest)


async def test_node_that_never_answers_is_told_with_the_way_out(hub: FakeHub, tmp_path: Path) -> None:
    manifest = resolve(Source(NAME), 1.0, hub.endpoint)
    origin = FromNode("127.0.0.1:9", SECRET)
    with pytest.raises(WeightsError, match=r"does not answer .* `--from hub`"):
        await asyncio.to_thread(Fetch(Cache(tmp_path, NAME), manifest, lambda: origin, silent_s=0.5).run)
