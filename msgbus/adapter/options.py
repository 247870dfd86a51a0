"""What a broker's URL may say beyond the place: the parameters that every adapter has, and a base for its own.

Its own module, since defining a model costs more than the rest of ``import msgbus``: only an adapter needs one.
"""

from __future__ import annotations

import ssl

from pydantic import BaseModel, ConfigDict

__all__ = ["AdapterOptions"]


class AdapterOptions(BaseModel):
    """An adapter's URL parameters; a subclass adds its own. These four mean the same on every broker."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    ca: str = ""
    """File of the certificate authorities to trust (PEM); empty: the system's."""
    cert: str = ""
    """File of the client's certificate (PEM)."""
    key: str = ""
    """File of the client's private key (PEM)."""
    insecure: bool = False
    """Do not verify the server's certificate."""

    def ssl_context(self) -> ssl.SSLContext:
        """What these options say about TLS 1.2 or later. Raises OSError or ssl.SSLError for an unusable file."""
        context = ssl.create_default_context(cafile=self.ca or None)
        if self.insecure:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if self.cert:
            context.load_cert_chain(self.cert, self.key or None)
        return context
