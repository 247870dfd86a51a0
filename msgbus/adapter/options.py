"""Options: the URL parameters that all adapters have, and the base class for an adapter's own.

This is a module of its own since defining a model takes longer than the rest of ``import msgbus``, and only adapters
need it.
"""

from __future__ import annotations

import ssl

from pydantic import BaseModel, ConfigDict

__all__ = ["AdapterOptions"]


class AdapterOptions(BaseModel):
    """URL parameters of an adapter; a subclass adds its own. These four mean the same on every broker."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    ca: str = ""
    """File with the certificate authorities to trust (PEM); empty: those of the system."""
    cert: str = ""
    """File with the client's certificate (PEM)."""
    key: str = ""
    """File with the client's private key (PEM)."""
    insecure: bool = False
    """Whether to skip the verification of the server's certificate."""

    def ssl_context(self) -> ssl.SSLContext:
        """Return the context for TLS 1.2 or later by these options.

        Raises:
            OSError: A file cannot be read; ``ssl.SSLError`` if its content is unusable.
        """
        context = ssl.create_default_context(cafile=self.ca or None)
        if self.insecure:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if self.cert:
            context.load_cert_chain(self.cert, self.key or None)
        return context
