"""A Hub over HTTP that says what `huggingface_hub` asks: a repository's files with sizes and digests, and the files themselves, by parts.

Large files are handed out by another server, as the real one does; both keep count, and can be told to break off or to change a byte.
"""

import contextlib
import hashlib
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, cast
from urllib.parse import urlsplit

CHUNK = 64 << 10


def git_sha1(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


@dataclass
class Repository:
    """One repository, and who may have it."""

    files: dict[str, bytes]
    commit: str = "a" * 40
    gated_for: str | None = None
    """The token that opens it."""
    said_bytes: int | None = None
    """What large files are said to have; none: what they have."""

    def listed(self, path: str) -> dict[str, Any]:
        content = self.files[path]
        one: dict[str, Any] = {"rfilename": path, "size": len(content), "blobId": git_sha1(content)}
        if large(path):
            one["lfs"] = {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 134}
            one["size"] = self.said_bytes or len(content)
        return one

    def tree(self) -> list[dict[str, Any]]:
        return [
            {"type": "file", "path": one["rfilename"], "size": one["size"], "oid": one["blobId"]}
            | ({"lfs": {**one["lfs"], "oid": one["lfs"]["sha256"]}} if "lfs" in one else {})
            for one in map(self.listed, self.files)
        ]


def large(path: str) -> bool:
    return path.endswith((".safetensors", ".bin", ".pth"))


@dataclass
class FakeHub:
    """What the two servers give, and what they have seen."""

    repositories: dict[str, Repository] = field(default_factory=dict)
    break_after: list[int] = field(default_factory=list)
    """For each of the next downloads of a large file: bytes after which the connection breaks."""
    damage: int = 0
    """Large files that are yet to be given with a changed byte."""
    pace_s: float = 0
    """Wait before each chunk of a large file."""
    down: bool = False
    downloads: list[tuple[str, str]] = field(default_factory=list)
    """Paths of files that were asked for, and the range that was wanted of it."""
    asked: list[tuple[str, str]] = field(default_factory=list)
    tokens_at_cdn: list[str] = field(default_factory=list)
    endpoint: str = ""
    cdn: str = ""
    lock: threading.Lock = field(default_factory=threading.Lock)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    @property
    def hub(self) -> FakeHub:
        return cast(_Server, self.server).hub

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self._serve(with_body=False)

    def do_GET(self) -> None:
        self._serve(with_body=True)

    def _serve(self, with_body: bool) -> None:
        path = urlsplit(self.path).path
        self.hub.asked.append((self.command, path))
        if self.hub.down:
            self._answer(503)
        elif path.startswith("/cdn/"):
            self._cdn(path.removeprefix("/cdn/"))
        elif path.startswith("/api/models/"):
            self._info(path.removeprefix("/api/models/"))
        else:
            self._resolve(path[1:], with_body)

    def _info(self, rest: str) -> None:
        name, tree, _ = rest.partition("/tree/")
        if tree:  # `snapshot_download` asks this instead
            self._answer(200, {}, json.dumps(self.hub.repositories[name].tree()).encode())
            return
        name, _, revision = rest.partition("/revision/")
        repository = self.hub.repositories.get(name)
        if repository is None:
            self._answer(401, {"X-Error-Code": "RepoNotFound"})
        elif revision not in ("", "main", repository.commit):
            self._answer(404, {"X-Error-Code": "RevisionNotFound"})
        else:
            siblings = [repository.listed(path) for path in repository.files]
            self._answer(200, {}, json.dumps({"id": name, "sha": repository.commit, "siblings": siblings}).encode())

    def _resolve(self, rest: str, with_body: bool) -> None:
        name, _, place = rest.partition("/resolve/")
        path = place.partition("/")[2]
        repository = self.hub.repositories[name]
        if repository.gated_for and self.headers.get("authorization") != f"Bearer {repository.gated_for}":
            self._answer(401, {"X-Error-Code": "GatedRepo"})
            return
        content, headers = repository.files[path], {"X-Repo-Commit": repository.commit}
        if large(path):
            linked = hashlib.sha256(content).hexdigest()
            headers |= {"X-Linked-ETag": f'"{linked}"', "X-Linked-Size": str(len(content)), "Location": f"{self.hub.cdn}/cdn/{rest}"}
            self._answer(302, headers)
        else:
            if with_body:
                self.hub.downloads.append((path, self.headers.get("range", "")))
            self._answer(200, headers | {"ETag": f'"{git_sha1(content)}"'}, content if with_body else b"", len(content))

    def _cdn(self, rest: str) -> None:
        name, _, place = rest.partition("/resolve/")
        path, wanted = place.partition("/")[2], self.headers.get("range", "")
        content = self.hub.repositories[name].files[path]
        with self.hub.lock:
            self.hub.downloads.append((path, wanted))
            self.hub.tokens_at_cdn.append(self.headers.get("authorization", ""))
            ends = self.hub.break_after.pop(0) if self.hub.break_after else None
            damaged, self.hub.damage = self.hub.damage > 0, max(0, self.hub.damage - 1)
        begin = int(wanted.removeprefix("bytes=").partition("-")[0]) if wanted else 0
        part = bytearray(content[begin:])
        if damaged:
            part[len(part) // 2] ^= 1
        self.send_response(206 if wanted else 200)
        self.send_header("Content-Length", str(len(part)))
        self.end_headers()
        self._slowly(bytes(part if ends is None else part[:ends]))
        if ends is not None:
            self.close_connection = True

    def _slowly(self, part: bytes) -> None:
        wait = threading.Event()
        for at in range(0, len(part), CHUNK):
            wait.wait(self.hub.pace_s)
            self.wfile.write(part[at : at + CHUNK])

    def _answer(self, status: int, headers: dict[str, str] | None = None, body: bytes = b"", length: int | None = None) -> None:
        self.send_response(status)
        for key, value in (headers or {}).items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        self.wfile.write(body)


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, hub: FakeHub) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.hub = hub

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away is no news."""


@contextlib.contextmanager
def fake_hub() -> Iterator[FakeHub]:
    """Both servers, for a while."""
    hub = FakeHub()
    servers = [_Server(hub), _Server(hub)]
    hub.endpoint, hub.cdn = (f"http://127.0.0.1:{server.server_address[1]}" for server in servers)
    threads = [threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True) for server in servers]
    for thread in threads:
        thread.start()
    try:
        yield hub
    finally:
        for server in servers:
            server.shutdown()
            server.server_close()


def llama(shards: int = 3, shard_bytes: int = 300_000) -> dict[str, bytes]:
    """A repository as Meta's are: shards, what is beside them, and Meta's own format, which no engine reads."""
    return {
        "config.json": b'{"model_type": "llama4"}',
        "tokenizer.json": b"{}" * 5000,
        "chat_template.jinja": b"{{ messages }}",
        "README.md": b"# Llama",
        **{f"model-{one:05}-of-{shards:05}.safetensors": bytes([one]) * shard_bytes for one in range(1, shards + 1)},
        "original/consolidated.00.pth": b"o" * shard_bytes,
        "original/params.json": b"{}",
    }
