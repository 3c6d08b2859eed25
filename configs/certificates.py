"""Files for mutual TLS, at the same paths on every node."""

from typing import Annotated

from pydantic import Field, StringConstraints

from configs.strict import Strict

Path = Annotated[str, StringConstraints(pattern=r"^/[A-Za-z0-9._/+-]{1,400}$")]


class Certificates(Strict):
    """The files of a node that both shows a certificate and asks others for theirs. Names in certificates are not compared."""

    authority: Path = Field(description="The certificate of an authority that signs for these machines only (PEM).")
    certificate: Path = Field(description="The node's certificate and what is between it and the authority (PEM), for servers and clients.")
    key: Path = Field(description="The key of that certificate (PEM), readable by the user of Ray only.")
