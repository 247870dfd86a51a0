"""Real brokers for tests: from the environment, in a container, or as a process of this machine.

server = start("redis")                 # any of the three ways; server.url is a msgbus URL
server = start_native("redis")          # a process to kill, pause and restart
server = start_native("redis", secured=True)    # TLS and users: server.url, server.recipe.url_as("app")
await server_version(server.url)        # what the server itself says
"""

from .choose import start
from .errors import ServerNotReady, ServersError, ServerUnavailable
from .native import NativeServer, start_native
from .server import Origin, Server
from .version import server_version

__all__ = [
    "NativeServer",
    "Origin",
    "Server",
    "ServerNotReady",
    "ServerUnavailable",
    "ServersError",
    "server_version",
    "start",
    "start_native",
]
