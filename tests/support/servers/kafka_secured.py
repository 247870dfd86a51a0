"""What makes a Kafka node secured: TLS and SASL for clients, rights for users, and a door of our own.

That door, PLAINTEXT on the loopback interface, is for the node itself and for the tests' administration: who comes in
there has no name and may do everything.
"""

from collections.abc import Mapping

from .ports import LOOPBACK
from .security import ADMIN, Security

_MODULES = "org.apache.kafka.common.security"


def settings(security: Security, ports: Mapping[str, int]) -> dict[str, str]:
    """Lines of server.properties. `ports`: of SASL_SSL, SASL_PLAINTEXT, PLAINTEXT and CONTROLLER."""
    listeners = {name: f"{name}://{LOOPBACK}:{port}" for name, port in ports.items()}
    return {
        "listeners": ",".join(listeners.values()),
        "advertised.listeners": ",".join(where for name, where in listeners.items() if name != "CONTROLLER"),
        "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SASL_SSL:SASL_SSL,"
        "SASL_PLAINTEXT:SASL_PLAINTEXT",
        "sasl.enabled.mechanisms": "SCRAM-SHA-512,PLAIN",
        **_login_modules(security),
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": str(security.bundle),
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": str(security.ca),
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": f"User:ANONYMOUS;User:{ADMIN}",
    }


def _login_modules(security: Security) -> dict[str, str]:
    users = " ".join(f'user_{user}="{password}"' for user, password in security.passwords.items())
    modules = {
        "scram-sha-512": f"{_MODULES}.scram.ScramLoginModule required;",
        "plain": f"{_MODULES}.plain.PlainLoginModule required {users};",
    }
    return {
        f"listener.name.{listener}.{mechanism}.sasl.jaas.config": module
        for listener in ("sasl_ssl", "sasl_plaintext")
        for mechanism, module in modules.items()
    }
