"""Authorities and certificates for tests of TLS."""

import datetime
import ipaddress
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from configs.certificates import Certificates


@dataclass(frozen=True)
class Authority:
    """An authority of a herd's own, with its files in a folder."""

    folder: Path
    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    def node(self, name: str = "node") -> Certificates:
        """The files of a node that this authority has signed for."""
        key = ec.generate_private_key(ec.SECP256R1())
        signed = _certificate(name, key, self.certificate.subject, self.key, authority=False)
        files: dict[str, x509.Certificate | ec.EllipticCurvePrivateKey]
        files = {"authority": self.certificate, "certificate": signed, "key": key}
        return Certificates.model_validate({what: str(_written(self.folder / f"{name}-{what}.pem", one)) for what, one in files.items()})


def authority(folder: Path) -> Authority:
    """A new authority."""
    folder.mkdir(exist_ok=True)
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "authority")])
    return Authority(folder, key, _certificate("authority", key, name, key, authority=True))


def _certificate(
    name: str, key: ec.EllipticCurvePrivateKey, issuer: x509.Name, signer: ec.EllipticCurvePrivateKey, authority: bool
) -> x509.Certificate:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)]))
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=5))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("192.0.2.1"))]), critical=False)
        .sign(signer, hashes.SHA256())
    )


def _written(path: Path, what: x509.Certificate | ec.EllipticCurvePrivateKey) -> Path:
    pem = serialization.Encoding.PEM
    if isinstance(what, x509.Certificate):
        path.write_bytes(what.public_bytes(pem))
    else:
        path.write_bytes(what.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
    return path
