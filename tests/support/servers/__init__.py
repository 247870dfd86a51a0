"""Real brokers for tests: from the environment, in a container, or as a process of this machine.

server = start("redis")                 # any of the three ways; server.url is a msgbus URL
server = start_native("redis")          # a process to kill, pause and restart
server = start_native("redis", secured=True)    # TLS and users: server.url, server.recipe.url_as("app")
cluster = start_cluster("redis")        # nodes to kill one by one
async with proxied(server) as (proxy, url): ...  # a network that can break between us and it
await server_version(server.url)        # what the server itself says
"""

from .choose import start
from .cluster import Cluster, start_cluster
from .errors import ServerNotReady, ServersError, ServerUnavailable
from .native import NativeServer, start_native
from .proxied import proxied
from .server import Origin, Server
from .version import server_version

__all__ = [
    "Cluster",
    "NativeServer",
    "Origin",
    "Server",
    "ServerNotReady",
    "ServerUnavailable",
    "ServersError",
    "proxied",
    "server_version",
    "start",
    "start_cluster",
    "start_native",
]
