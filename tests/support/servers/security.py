"""What a secured server asks for: certificates of an authority of its own, and a name with a password.

There are three users, the same on every broker: `admin` may do everything, `app` what a service needs and no more (each
recipe's `MIN_SESSION_TIMEOUT_SECONDS`), `nobody` may log in and do nothing.
"""

import secrets
import shutil
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urlencode

from .ports import LOOPBACK

ADMIN, APP, NOBODY = USERS = ("admin", "app", "nobody")


@dataclass(frozen=True)
class Security:
    """Files in PEM, and a password for each user."""

    ca: Path
    certificate: Path
    key: Path
    bundle: Path  # key and certificate in one file
    passwords: Mapping[str, str]

    @classmethod
    def made(cls, folder: Path) -> "Security":
        """A fresh authority, a certificate of the loopback interface and random passwords, below `folder`."""
        import trustme

        authority = trustme.CA()
        issued = authority.issue_cert("localhost", LOOPBACK)
        key = _pkcs8(issued.private_key_pem.bytes())
        chain = b"".join(blob.bytes() for blob in issued.cert_chain_pems)
        contents = {"ca": authority.cert_pem.bytes(), "certificate": chain, "key": key, "bundle": key + chain}
        paths = {name: folder / f"{name}.pem" for name in contents}
        for name, path in paths.items():
            path.write_bytes(contents[name])
        return cls(**paths, passwords={user: secrets.token_urlsafe(12) for user in USERS})

    def copied(self, folder: Path) -> "Security":
        """The same with its files in `folder`, which is all that a server in a root of its own sees of ours."""
        paths = {name: folder / f"{name}.pem" for name in ("ca", "certificate", "key", "bundle")}
        for name, path in paths.items():
            if path != getattr(self, name):
                shutil.copy(getattr(self, name), path)
        return Security(**paths, passwords=self.passwords)

    def login(self, user: str, password: str | None = None) -> str:
        """`user:password` for a URL; the right password unless another is given."""
        return f"{quote(user, safe='')}:{quote(self.passwords[user] if password is None else password, safe='')}"

    def query(self, given: Mapping[str, str], *, tls: bool) -> str:
        """The URL's parameters: `given`, and with TLS our authority unless they name another, or none."""
        parameters = {**({"ca": str(self.ca)} if tls else {}), **given}
        return f"?{urlencode(parameters, safe='/')}" if parameters else ""

    def context(self) -> ssl.SSLContext:
        """What a client needs to trust the server."""
        return ssl.create_default_context(cafile=str(self.ca))


def _pkcs8(pem: bytes) -> bytes:
    """A private key as Kafka wants it."""
    from cryptography.hazmat.primitives.serialization import (
        Encoding,
        NoEncryption,
        PrivateFormat,
        load_pem_private_key,
    )

    key = load_pem_private_key(pem, password=None)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
