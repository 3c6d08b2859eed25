"""Bounds connections to the gateway's port, and says from where they may come, before anything is known about a request.

Decides nothing; `configs.schema.Gateway` has these fields beside its own.
"""

from typing import Annotated

from pydantic import Field, StringConstraints

from configs.strict import Strict

Host = Annotated[str, StringConstraints(pattern=r"^((\*\.)?[A-Za-z0-9_][A-Za-z0-9_.-]{0,250}|\[[0-9A-Fa-f:.]{2,45}\])$", to_lower=True)]
Origin = Annotated[str, StringConstraints(pattern=r"^(\*|null|[A-Za-z][A-Za-z0-9+.-]*://[^/\s,?#@]{1,250})$", to_lower=True)]
File = Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f]{1,1024}$")]


class Cors(Strict):
    """Says which web pages may use the herd from a browser."""

    allowed_origins: tuple[Origin, ...] = Field(
        (),
        description="Web pages of these origins may use the herd, such as `https://chat.example.com`. `*` is every page of the web. "
        "Default: none.",
    )
    max_age_s: int = Field(600, ge=0, le=86_400, description="A browser may keep the answer to a preflight for this many seconds.")


class Tls(Strict):
    """HTTPS at the gateway's own port. The files are read again when they change."""

    certificate: File = Field(description="The certificate and its chain are at this path on every node, in PEM.")
    key: File = Field(description="The private key is at this path on every node, in PEM and without a passphrase.")


class Listening(Strict):
    """Says where gateways listen, and how many there are. A change of these fields makes new gateway processes."""

    host: str = Field(
        "127.0.0.1", min_length=1, description="The gateway listens on this address. 0.0.0.0 is every interface of every node."
    )
    port: int = Field(8000, ge=1, le=65535, description="The gateway listens on this port.")
    replicas_per_node: int = Field(1, ge=1, le=64, description="A node has this many gateway processes, which share the port.")
    tls: Tls | None = Field(None, description="The port speaks HTTPS with these files. Default: plain HTTP.")


class Doorway(Strict):
    """Says how much a gateway takes from its clients. A change is told to the gateways that run."""

    keep_alive_s: float = Field(
        75,
        gt=0,
        le=86_400,
        description="A connection may wait this many seconds for its next request. Take more than a load balancer in front of the "
        "gateway does.",
    )
    connections: int = Field(
        10_000,
        ge=1,
        le=1_000_000,
        description="A gateway process takes at most this many connections, and fewer if it may not open twice as many files and 256 "
        "more (`ulimit -n`).",
    )
    connections_per_address: int | None = Field(
        None,
        ge=1,
        le=1_000_000,
        description="A client's address may have this many connections to one gateway process. Default: no such bound. Behind a proxy "
        "such as Ray Serve's HAProxy all clients have the proxy's address: bound them there instead.",
    )
    allowed_hosts: tuple[Host, ...] = Field(
        (),
        description="Clients may call the gateway by these names, or by all below example.com for `*.example.com`. A gateway on loopback"
        " takes the names of loopback as well, and no others. Default elsewhere: any name. Names have no ports; an IPv6 "
        "address stands in brackets.",
    )
    cors: Cors = Field(Cors(), description="Rules for browsers say which web pages may use the herd.")
