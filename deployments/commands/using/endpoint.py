"""The address of a gateway, and all that a command needs to ask it: certificates, a key. Needs HTTP only, no Ray and no folder of a herd.

Decides when a key is sent: only to a gateway that has asked for one by a 401. The key in `OPENAI_API_KEY` may be another service's.
"""

import ssl
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from pydantic import SecretStr

from configs.addresses import in_url
from configs.load import Environment
from deployments.lifecycle import herd as operate
from deployments.lifecycle.herd import Herd, OperationError
from deployments.lifecycle.own_certificate import trust

if TYPE_CHECKING:  # `herd plan` answers before it would be imported
    import httpx

#: Longest wait for a page, and for the next bytes of an answer, in seconds.
PAGE_S, ANSWER_S = 10.0, 300.0
UNAUTHORIZED = 401
#: Variables that keys come from: of clients, and of operators.
API_KEY, SECRET = "OPENAI_API_KEY", "HERD_SECRET"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A gateway as its clients reach it."""

    url: str
    """Its address without `/v1` and without a slash at the end."""
    verify: ssl.SSLContext | bool = True
    """Says which certificates are trusted. `True`: those that the HTTP client knows; it is only so where the address is plain HTTP."""
    key: SecretStr | None = None
    """Shown to a gateway that asks for one."""
    herd: Herd | None = None
    """The herd of this machine that it belongs to; None if only the address is known."""
    ca: Path | None = None
    """The file whose certificates alone are trusted, if there is one."""
    key_from: str = API_KEY
    """The variable that `key` comes from, or would."""

    def client(self, read_s: float = ANSWER_S) -> "httpx.Client":
        """Returns an HTTP client of it, to be closed by the caller; the next bytes of an answer may take `read_s` seconds."""
        import httpx

        return httpx.Client(base_url=self.url, verify=self.verify, timeout=httpx.Timeout(PAGE_S, read=read_s), auth=_when_asked(self.key))

    def get(self, path: str) -> dict[str, Any]:
        """Returns what a path answers, as JSON.

        Raises:
            OperationError: it does not answer, refuses, or does not answer with a JSON object.
        """
        import httpx

        try:
            with self.client(PAGE_S) as client:
                answer = client.get(path)
        except httpx.HTTPError as error:
            raise OperationError(f"{self.url}{path} does not answer ({error}). {self.way_out}") from error
        if answer.status_code == UNAUTHORIZED:
            raise OperationError(self._refused)
        try:
            found = answer.raise_for_status().json()
        except (httpx.HTTPStatusError, ValueError) as error:  # no JSON, or no text at all
            raise OperationError(f"{self.url}{path} does not answer as a gateway does ({_short(error)}). {self.way_out}") from error
        if not isinstance(found, dict):
            raise OperationError(f"{self.url}{path} does not answer as a gateway does. {self.way_out}")
        return found

    def asks_for_key(self) -> bool:
        """Tells whether it refuses to list its models without a key."""
        import httpx

        try:
            return httpx.get(f"{self.url}/v1/models", verify=self.verify, timeout=PAGE_S).status_code == UNAUTHORIZED
        except httpx.HTTPError:
            return False

    @property
    def way_out(self) -> str:
        """Returns the sentence that tells what to look at when it does not answer."""
        return "`herd status` may tell more." if self.herd else "Is the address right? It is the gateway's, for instance http://host:8000."

    @property
    def _refused(self) -> str:
        wanted = "an API key" if self.key_from == API_KEY else "a key to its pages, which are for operators"
        return f"{self.url} asks for {wanted}: " + (f"the one in {self.key_from} is not right." if self.key else f"set {self.key_from}.")


def _short(error: Exception) -> str:
    return str(error).partition("\n")[0]


def _when_asked(key: SecretStr | None) -> "httpx.Auth":
    """Returns the way to show a key, after the first 401 and from then on."""
    import httpx

    class Asked(httpx.Auth):
        def __init__(self) -> None:
            self.asked = False

        def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
            shown = self.asked and key is not None
            if shown and key is not None:
                request.headers["authorization"] = f"Bearer {key.get_secret_value()}"
            answer = yield request
            # Another thread's request may have been refused meanwhile; this one has still not shown the key.
            if answer.status_code == UNAUTHORIZED and key is not None and not shown:
                self.asked = True
                request.headers["authorization"] = f"Bearer {key.get_secret_value()}"
                yield request

    return Asked()


def of_herd(herd: Herd, given: Environment) -> Endpoint:
    """Returns the endpoint of a herd, as this machine reaches it. Its own certificate is trusted, by whatever name."""
    return Endpoint(herd.endpoint, trust(herd.config.gateway.tls), given.api_key, herd)


def at(url: str, ca: Path | None, given: Environment) -> Endpoint:
    """Returns the endpoint at an address. Certificates are those that this system trusts, or those in the file `ca` alone.

    Raises:
        OperationError: it is no address of a gateway, or the file has no certificates.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise OperationError(f"--url {url!r} is no address: {error}.") from error
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise OperationError(f"--url {url!r} is no address of a gateway: it is like http://host:8000 or https://llm.example.com.")
    if parts.username or parts.password:
        raise OperationError("--url has a user or a password in it. The gateway takes a key: set OPENAI_API_KEY instead.")
    path = parts.path.rstrip("/").removesuffix("/v1")
    address = f"{parts.scheme}://{in_url(parts.hostname)}{'' if port is None else f':{port}'}{path}"
    return Endpoint(address, _trusted(ca) if parts.scheme == "https" else True, given.api_key, ca=ca)


def _trusted(ca: Path | None) -> ssl.SSLContext:
    if ca is not None and ca.exists() and not ca.is_file():
        raise OperationError(f"--ca {ca} is not a file.")  # a pipe would be waited for without end
    try:
        return ssl.create_default_context(cafile=None if ca is None else str(ca))
    except (OSError, ssl.SSLError) as error:
        raise OperationError(f"--ca {ca} cannot be read as certificates in PEM: {error.strerror or error}.") from error


def named(url: str | None, ca: Path | None, name: str | None, given: Environment) -> Endpoint:
    """Returns the endpoint that the words of a command name: an address, or a herd that is up.

    Raises:
        OperationError: the words contradict each other, or name nothing.
    """
    if url is not None:
        if name is not None:
            raise OperationError("--url and --name both say which herd: give one of them.")
        return at(url, ca, given)
    no_ca(ca)
    return of_herd(operate.known(given, name), given)


def no_ca(ca: Path | None) -> None:
    """Refuses certificates where no address is given.

    Raises:
        OperationError: there is a file of them.
    """
    if ca is not None:
        raise OperationError("--ca is for --url: a herd of this machine is known by its own certificate.")
