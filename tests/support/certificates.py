"""Certificates of a private authority and of a server on 127.0.0.1."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec


@dataclass(frozen=True)
class Certificates:
    """Files in PEM format.

    Attributes:
        authority: the certificate of a private authority.
        leaf: the certificate of a server on 127.0.0.1, signed by the authority.
        key: the private key of the server.
        expired: a certificate of the server that has expired.
        elsewhere: a certificate of the server for another host.
    """

    authority: Path
    leaf: Path
    key: Path
    expired: Path
    elsewhere: Path


def write_certificates(folder: Path) -> Certificates:
    """Write the files of a new authority and a new server into a folder."""
    authority_key = ec.generate_private_key(ec.SECP256R1())
    server_key = ec.generate_private_key(ec.SECP256R1())

    def certificate(
        subject: str,
        key: ec.EllipticCurvePrivateKey,
        *extensions: x509.ExtensionType,
        days: int = 1,
    ) -> bytes:
        now = datetime.now(UTC)
        builder = x509.CertificateBuilder(
            issuer_name=x509.Name.from_rfc4514_string("CN=Acme CA"),
            subject_name=x509.Name.from_rfc4514_string(subject),
            public_key=key.public_key(),
            serial_number=x509.random_serial_number(),
            not_valid_before=now - timedelta(days=9),
            not_valid_after=now + timedelta(days=days),
        )
        for extension in (*extensions, x509.SubjectKeyIdentifier.from_public_key(key.public_key())):
            critical = isinstance(extension, (x509.BasicConstraints, x509.KeyUsage))
            builder = builder.add_extension(extension, critical=critical)
        builder = builder.add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key()),
            critical=False,
        )
        signed = builder.sign(authority_key, hashes.SHA256())
        return signed.public_bytes(serialization.Encoding.PEM)

    usage = dict.fromkeys(
        ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement"), False
    )
    usage |= dict.fromkeys(("encipher_only", "decipher_only"), False)
    signs = x509.KeyUsage(digital_signature=True, key_cert_sign=True, crl_sign=True, **usage)
    host = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])
    other_host = x509.SubjectAlternativeName([x509.DNSName("kfp.acme.example")])
    files = Certificates(
        authority=folder / "ca.pem",
        leaf=folder / "leaf.pem",
        key=folder / "leaf.key",
        expired=folder / "expired.pem",
        elsewhere=folder / "elsewhere.pem",
    )
    files.authority.write_bytes(
        certificate("CN=Acme CA", authority_key, x509.BasicConstraints(True, 0), signs)
    )
    files.leaf.write_bytes(certificate("CN=kfp", server_key, host))
    files.expired.write_bytes(certificate("CN=kfp", server_key, host, days=-1))
    files.elsewhere.write_bytes(certificate("CN=kfp", server_key, other_host))
    form = serialization.PrivateFormat.PKCS8
    files.key.write_bytes(
        server_key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())
    )
    return files
