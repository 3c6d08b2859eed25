"""Files for mutual TLS, at the same paths on every node."""

from typing import Annotated

from pydantic import Field, StringConstraints

from configs.strict import Strict

Path = Annotated[str, StringConstraints(pattern=r"^/[A-Za-z0-9._/+-]{1,400}$")]


class Certificates(Strict):
    """Names the files of a node that shows a certificate and asks others for theirs. Names in certificates are not compared."""

    authority: Path = Field(description="The authority's certificate (PEM) is at this path. It must sign for these machines only.")
    certificate: Path = Field(
        description="The node's certificate (PEM), for servers and clients, is at this path, with all between it and the authority."
    )
    key: Path = Field(description="The key of that certificate (PEM) is at this path, readable only by the user that Ray runs as.")
