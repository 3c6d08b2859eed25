"""Whether Ray is guarded by its token: without one, who reaches Ray's ports runs code on every node.

Decides nothing about what follows from it, but the words. A process that has a token connects to a Ray that asks for none, too, so the GCS
itself is asked, without a token.
"""

from configs.load import environment
from configs.site import Site

#: A call that changes nothing; what it answers is not looked at.
HARMLESS = "/ray.rpc.NodeInfoGcsService/CheckAlive"
ANSWER_S = 5.0
OPEN = (
    "Ray asks for no token here, so a program that reaches its ports can run code on every node. "
    'Start it on each node after `eval "$(herd secret)"` (RAY_AUTH_MODE=token). '
    "If nothing else reaches these ports, ray.require_token: false takes Ray as it is."
)


class OpenRay(RuntimeError):
    """Ray asks for no token; the message says what to do."""


def refuse_open(site: Site) -> None:
    """Refuses to go on in a process of a Ray without token authentication, unless the config takes it.

    Raises:
        OpenRay: Ray asks for no token.
    """
    if site.require_token and not environment().ray_asks_for_token:
        raise OpenRay(OPEN)


def answers_without_token(gcs: str) -> bool:
    """Asks a GCS (HOST:PORT) without a token; whether it answers. One that does not answer within seconds, or speaks TLS only, does not."""
    return _asked(gcs, ()) == "OK"


def takes_no_token_of_ours(gcs: str) -> bool:
    """Asks a GCS (HOST:PORT) with this process's token, if it has one; whether it is refused. Ray's client would try for half a minute."""
    return _asked(gcs, _own_token()) == "UNAUTHENTICATED"


def _own_token() -> tuple[tuple[str, str], ...]:
    """Returns the header that Ray's own clients show in this process; none where they have no token."""
    from ray._raylet import AuthenticationTokenLoader  # type: ignore[attr-defined]  # it is there, and compiled

    loader = AuthenticationTokenLoader.instance()
    headers = loader.get_token_for_http_header() if loader.has_token() else {}
    return tuple((name.lower(), value) for name, value in headers.items())


def _asked(gcs: str, metadata: tuple[tuple[str, str], ...]) -> str:
    """Returns what a GCS says to a call: a name of gRPC's."""
    import grpc

    # A proxy of the environment is for the way out, not for the cluster.
    with grpc.insecure_channel(gcs, options=[("grpc.enable_http_proxy", 0)]) as channel:
        try:
            channel.unary_unary(HARMLESS)(b"", timeout=ANSWER_S, metadata=metadata)
        except grpc.RpcError as error:
            return str(error.code().name)
    return "OK"
