"""A registry that containers' daemons pull images from: those of one `docker save`, by Docker's own HTTP protocol, read only.

Decides nothing. A daemon that has it as its mirror asks it for every image of Docker Hub, so a config's image is pulled under its own name,
and one of another registry where that one's name leads here.
"""

import hashlib
import json
import tarfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
CONFIG = "application/vnd.docker.container.image.v1+json"
LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"


class Registry(ThreadingHTTPServer):
    """To be bound where the daemons reach it, and then served on a thread."""

    def __init__(self, address: tuple[str, int], saved: Path, folder: Path) -> None:
        """Unpacks what `docker save` wrote.

        Args:
            address: where to listen.
            saved: that file.
            folder: for the images' parts.
        """
        self.blobs: dict[str, Path] = {}
        self.manifests: dict[str, bytes] = {}
        with tarfile.open(saved) as archive:
            archive.extractall(folder, filter="data")
        for image in json.loads((folder / "manifest.json").read_text(encoding="utf-8")):
            said = self._manifest(folder, image)
            for tag in image["RepoTags"]:
                name, _, reference = _in_registry(tag).rpartition(":")
                self.manifests[f"/v2/{name}/manifests/{reference}"] = said
                self.manifests[f"/v2/{name}/manifests/{digest(said)}"] = said
        super().__init__(address, _Page)

    def _manifest(self, folder: Path, image: dict[str, Any]) -> bytes:
        config, *layers = (self._blob(folder / path) for path in (image["Config"], *image["Layers"]))
        described = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": config | {"mediaType": CONFIG},
            "layers": [one | {"mediaType": LAYER} for one in layers],
        }
        return json.dumps(described).encode()

    def _blob(self, path: Path) -> dict[str, Any]:
        with path.open("rb") as file:
            name = f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
        self.blobs[name] = path
        return {"size": path.stat().st_size, "digest": name}


def _in_registry(tag: str) -> str:
    """An image's name without that of its registry, which has a dot or a port in it."""
    host, _, name = tag.partition("/")
    return name if name and ("." in host or ":" in host) else tag


def digest(said: bytes) -> str:
    """The name of what is said, by its content."""
    return f"sha256:{hashlib.sha256(said).hexdigest()}"


class _Page(BaseHTTPRequestHandler):
    server: Registry

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, body: bool) -> None:
        manifest = self.server.manifests.get(self.path)
        blob = self.server.blobs.get(self.path.rpartition("/")[2])
        if self.path == "/v2/":
            self._head(200, 0, {})
        elif manifest is not None:
            self._head(200, len(manifest), {"Content-Type": MANIFEST, "Docker-Content-Digest": digest(manifest)})
            self.wfile.write(manifest if body else b"")
        elif blob is not None:
            self._head(200, blob.stat().st_size, {"Content-Type": "application/octet-stream"})
            if body:
                with blob.open("rb") as file:
                    while part := file.read(1 << 20):
                        self.wfile.write(part)
        else:
            self._head(404, 0, {})

    def _head(self, status: int, length: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(length), "Docker-Distribution-API-Version": "registry/2.0", **headers}.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass
