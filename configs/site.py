"""What a herd says about the networks and the Ray that it runs on, and every gateway and engine is told when it starts."""

from pydantic import Field

from configs.certificates import Certificates
from configs.strict import Strict


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


class Site(Strict):
    """What a process is told; a change of it makes new processes."""

    require_token: bool = Field(True, description="Whether the process refuses to start in a Ray that asks for no token.")
    engine_tls: Certificates | None = Field(None, description="The files for TLS between gateways and engines. Default: plain HTTP.")
