"""Redis Streams, in six sentences of Redis' own words.

A queue is the stream ``msgbus:{queue}`` and a group is a consumer group on it, created at 0; publishing is a pipeline
of ``XADD … NOMKSTREAM``, so a missing stream answers nil. A member is one consumer name of one ``XREADGROUP`` over all
its streams, which is never cancelled but ended by ``CLIENT UNBLOCK``; it acknowledges with ``XACK`` and extends with
``XCLAIM … JUSTID``, from a script that checks the owner where another member may have taken the entry. What a dead
member left pending is taken over by ``XAUTOCLAIM`` after the visibility time. What a leaving member gives back is
claimed for the consumer ``left`` with an ``IDLE_FETCH_WAIT_MS`` above the visibility time, and an entry in the stream
``msgbus:bell:group``, which every member reads with ``XREAD BLOCK`` on a connection of its own, makes the others run
``XAUTOCLAIM`` before they read on. A retry queue's entries are deleted as they are acknowledged; dead letters are a
stream without a group, read by ``XRANGE`` and deleted by whoever has the key ``msgbus:taker:{queue}``. Members trim a
queue by ``XTRIM … MINID`` to what every group has acknowledged and is older than the retention; an ``XADD`` never does.
"""

from msgbus_redis.adapter import RedisAdapter
from msgbus_redis.options import RedisOptions

__all__ = ["RedisAdapter", "RedisOptions"]
