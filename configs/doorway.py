"""Says what the gateway's port takes, from where, from whom and how much, before anything is known about a request.

Decides nothing; `configs.schema.Gateway` has these fields beside its own.
"""

from typing import Annotated

from pydantic import Field, StringConstraints

from configs.strict import Strict

Host = Annotated[str, StringConstraints(pattern=r"^((\*\.)?[A-Za-z0-9_][A-Za-z0-9_.-]{0,250}|\[[0-9A-Fa-f:.]{2,45}\])$", to_lower=True)]
Origin = Annotated[str, StringConstraints(pattern=r"^(\*|null|[A-Za-z][A-Za-z0-9+.-]*://[^/\s,?#@]{1,250})$", to_lower=True)]
File = Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f]{1,1024}$")]


class Cors(Strict):
    """Which web pages may use the herd from a browser."""

    allowed_origins: tuple[Origin, ...] = Field(
        (), description="Origins of such pages, as `https://chat.example.com`. `*` is every page of the web. Default: none."
    )
    max_age_s: int = Field(600, ge=0, le=86_400, description="How long a browser may keep the answer to a preflight.")


class Tls(Strict):
    """HTTPS at the gateway's own port. The files are read again when they change."""

    certificate: File = Field(description="Path of the certificate and its chain, in PEM, on every node.")
    key: File = Field(description="Path of its private key, in PEM and without a passphrase, on every node.")


class Listening(Strict):
    """Where gateways listen, and how many there are. A change of these fields makes new gateway processes."""

    host: str = Field("127.0.0.1", min_length=1, description="Address to listen on. 0.0.0.0 is every interface of every node.")
    port: int = Field(8000, ge=1, le=65535)
    replicas_per_node: int = Field(1, ge=1, le=64, description="Gateway processes per node; they share the port.")
    tls: Tls | None = Field(None, description="Default: plain HTTP.")


class Doorway(Strict):
    """What a gateway takes from its clients. A change is told to the gateways that run."""

    keep_alive_s: float = Field(
        75, gt=0, le=86_400, description="Longest wait of a connection for its next request. Longer than a load balancer in front keeps it."
    )
    connections: int = Field(
        10_000,
        ge=1,
        le=1_000_000,
        description="Connections that one gateway process takes, at most. It takes fewer where the process may not open twice as many "
        "files and 256 (`ulimit -n`).",
    )
    connections_per_address: int | None = Field(
        None,
        ge=1,
        le=1_000_000,
        description="Connections of one client's address at one gateway process, at most. Default: no such bound. Behind a proxy such as "
        "Ray Serve's HAProxy all clients have the proxy's address: bound them there instead.",
    )
    allowed_hosts: tuple[Host, ...] = Field(
        (),
        description="Names that clients may call the gateway by, or `*.example.com` for all below example.com. A gateway on loopback takes "
        "the names of loopback as well, and no others. Default elsewhere: any name. Without ports; an IPv6 address in brackets.",
    )
    cors: Cors = Cors()
