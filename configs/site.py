"""What a herd says about the networks and the Ray that it runs on, and every gateway and engine is told when it starts."""

from typing import Annotated

from pydantic import Field, StringConstraints

from configs.strict import Strict

Path = Annotated[str, StringConstraints(pattern=r"^/[A-Za-z0-9._/+-]{1,400}$")]


class Ray(Strict):
    """Which Ray cluster to serve on."""

    address: str = Field(
        "local",
        min_length=1,
        description="`local`: start and own a Ray node on this machine. `auto`: the cluster that `ray up` made. Or HOST:PORT.",
    )
    require_token: bool = Field(
        True, description="Ray without token authentication is refused: who reaches its ports could run code on every node."
    )
    object_store_mib: int = Field(256, ge=80, le=1 << 20, description="Ray's object store, for a `local` node only.")


class EngineTls(Strict):
    """TLS between gateways and engines: each side shows a certificate of one authority. Names in certificates are not compared."""

    authority: Path = Field(description="The certificate of an authority that signs for this herd's nodes only (PEM).")
    certificate: Path = Field(description="The node's certificate and what is between it and the authority (PEM), for servers and clients.")
    key: Path = Field(description="The key of that certificate (PEM), readable by the user of Ray only.")


class Site(Strict):
    """What a process is told; a change of it makes new processes."""

    require_token: bool = Field(True, description="Whether the process refuses to start in a Ray that asks for no token.")
    engine_tls: EngineTls | None = Field(None, description="The files for TLS between gateways and engines. Default: plain HTTP.")
