"""A cluster of native servers, whose nodes can be killed, frozen and started again one by one."""

import atexit
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from .errors import ServerNotReady, ServerUnavailable
from .native import RECIPES, NativeServer, folder_for, lacks, made
from .recipe import Recipe, Wish
from .redis_native import RedisRecipe
from .server import Server


class Cluster(Server):
    """Kafka or RabbitMQ: three nodes. Redis: a primary and its replica, and three `sentinels` beside them."""

    origin = "native"

    def __init__(self, servers: Sequence[NativeServer]) -> None:
        first = servers[0].recipe
        super().__init__(first.name, first.cluster_url())
        self.sentinels = [one for one in servers if isinstance(one.recipe, RedisRecipe) and one.recipe.is_sentinel]
        self.nodes = [one for one in servers if one not in self.sentinels]
        atexit.register(self.stop)

    def run(self) -> None:
        """Start what is not running and wait until all answer."""
        servers = [*self.nodes, *self.sentinels]
        for server in servers:
            server.launch()
        for server in servers:
            server.settle()

    def stop(self) -> None:
        atexit.unregister(self.stop)
        servers = [*self.nodes, *self.sentinels]
        for server in servers:
            server.kill()  # in good order each would wait for the others
        for server in servers:
            server.stop()


def start_cluster(name: str, *, settings: Mapping[str, str] | None = None, secured: bool = False) -> Cluster:
    """A fresh cluster whose nodes all answer. `settings`: lines for the configuration of each; `secured`: Redis only.

    ServerUnavailable: not installed. ServerNotReady: does not come up.
    """
    kind = RECIPES[name]
    wish = Wish(settings=settings or {}, secured=secured)
    if lack := lacks(name):
        raise ServerUnavailable(name, lack, kind.way_out)
    try:
        return _boot(kind, wish)
    except ServerNotReady:  # as with one server: a port may have been taken
        return _boot(kind, wish)


def _boot(kind: type[Recipe], wish: Wish) -> Cluster:
    recipes = [kind(folder_for(kind), wish) for _ in range(kind.nodes)]
    for recipe in recipes:
        recipe.peers = recipes
        if shared := recipes[0].security:
            recipe.security = shared.copied(recipe.folder)
    with ThreadPoolExecutor(len(recipes)) as beside:  # Kafka's take a second or two each
        servers = list(beside.map(lambda recipe: made(recipe, guarded=True), recipes))
    cluster = Cluster(servers)
    try:
        for server in servers[: kind.ahead]:
            server.run()
            server.recipe.started()
        cluster.run()
    except BaseException:
        cluster.stop()
        raise
    return cluster
