"""Settings of the networks and the Ray that a herd runs on. Every gateway and engine gets them when it starts."""

from pydantic import Field

from configs.certificates import Certificates
from configs.strict import Strict


class Ray(Strict):
    """Names the Ray cluster to serve on."""

    address: str = Field(
        "local",
        min_length=1,
        description="The herd uses this Ray cluster. `local` starts and owns a Ray node on this machine, `auto` is the cluster that `ray"
        " up` made, or give HOST:PORT.",
    )
    require_token: bool = Field(
        True,
        description="Ray must ask for a token if this is true: a program that reaches the ports of an open Ray could run code on every "
        "node.",
    )
    object_store_mib: int = Field(256, ge=80, le=1 << 20, description="The object store of a `local` Ray node has this many MiB.")


class Site(Strict):
    """Settings that a process gets when it starts; a change makes new processes."""

    require_token: bool = Field(True, description="The process refuses to start in a Ray that asks for no token if this is true.")
    engine_tls: Certificates | None = Field(None, description="Gateways and engines use TLS with these files. Default: plain HTTP.")
