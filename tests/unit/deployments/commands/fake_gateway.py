"""A server on a real socket that answers as a gateway does, slowly where a test asks for it; it remembers what it was asked."""

import contextlib
import json
import ssl
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

SEEING = {
    "id": "llama-4-scout",
    "aliases": ["scout"],
    "max_model_len": 8192,
    "max_images_per_prompt": 2,
    "license": "Llama 4 Community License",
    "attribution": "Built with Llama",
}
BLIND = {
    "id": "smollm2-135m-instruct",
    "aliases": ["smollm2"],
    "max_model_len": 2048,
    "max_images_per_prompt": 0,
    "license": "Apache-2.0",
    "attribution": None,
}
ALIAS = {"id": "scout", "parent": "llama-4-scout", "aliases": []}


@dataclass
class Gateway:
    """What the server says, and what it was asked."""

    url: str = ""
    pieces: list[str] = field(default_factory=lambda: ["A llama", " is an", " animal."])
    pace_s: float = 0.0
    finish: str = "stop"
    breaks_off: bool = False
    refusal: dict[str, Any] | None = None
    """An error for every generation."""
    key: str | None = None
    status: Any = None
    """The page `/-/status`; None: there is none."""
    models: Any = field(default_factory=lambda: [SEEING, BLIND, ALIAS])
    asked: list[tuple[str, dict[str, Any] | None, str | None]] = field(default_factory=list)
    """Path, body and `authorization` of each request."""
    hung_up: threading.Event = field(default_factory=threading.Event)
    """A client has closed its connection in the middle of an answer."""

    @property
    def bodies(self) -> list[dict[str, Any]]:
        return [body for _, body, _ in self.asked if body is not None]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    gateway: Gateway

    def log_message(self, *_: object) -> None:
        pass

    def answer(self, status: int, said: object) -> None:
        data = json.dumps(said).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def allowed(self, body: dict[str, Any] | None) -> bool:
        key = self.headers.get("authorization")
        self.gateway.asked.append((self.path, body, key))
        if self.gateway.key is None or key == f"Bearer {self.gateway.key}":
            return True
        self.answer(401, {"error": {"message": "This needs a key."}})
        return False

    def do_GET(self) -> None:
        if not self.allowed(None):
            return
        if self.path == "/-/status" and self.gateway.status is not None:
            self.answer(200, self.gateway.status)
        else:
            self.answer(200 if self.path == "/v1/models" else 404, {"object": "list", "data": self.gateway.models})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if not self.allowed(body):
            return
        if self.path == "/tokenize":
            self.answer(200, {"tokens": list(range(2 * len(body["prompt"].split())))})
        elif self.gateway.refusal is not None:
            self.answer(400, {"error": self.gateway.refusal})
        else:
            with contextlib.suppress(ConnectionError, ssl.SSLError):
                self.stream(chat=self.path.endswith("/chat/completions"))
                return
            self.gateway.hung_up.set()

    def stream(self, chat: bool) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        for index, piece in enumerate(self.gateway.pieces):
            last = index == len(self.gateway.pieces) - 1
            said = {"delta": {"content": piece}} if chat else {"text": piece}
            self.event({"choices": [said | {"finish_reason": self.gateway.finish if last else None}]})
            time.sleep(self.gateway.pace_s)
        if self.gateway.breaks_off:
            self.close_connection = True
            self.wfile.write(b"0\r\n\r\n")
            return
        count = len(self.gateway.pieces)
        self.event({"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": count, "total_tokens": 5 + count}})
        self.chunk(b"data: [DONE]\n\n")
        self.wfile.write(b"0\r\n\r\n")

    def event(self, said: object) -> None:
        self.chunk(f"data: {json.dumps(said)}\n\n".encode())

    def chunk(self, data: bytes) -> None:
        self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")


@contextlib.contextmanager
def serving(certificate: ssl.SSLContext | None = None) -> Iterator[Gateway]:
    """Serves on a port of its own, by TLS with a certificate."""
    gateway = Gateway()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"gateway": gateway}))
    server.daemon_threads = True
    if certificate is not None:
        server.socket = certificate.wrap_socket(server.socket, server_side=True)
    gateway.url = f"http{'s' if certificate else ''}://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield gateway
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
