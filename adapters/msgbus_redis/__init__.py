"""Redis Streams, in Redis' own words.

- A queue is the stream ``msgbus:{queue}``. A group is a consumer group on it, created at 0.
- Publishing is a pipeline of ``XADD … NOMKSTREAM``, so a missing stream answers nil.
- A member is one consumer name. It reads all its streams by one ``XREADGROUP``, which is never cancelled but ended by
  ``CLIENT UNBLOCK``.
- A member acknowledges with ``XACK`` and extends with ``XCLAIM … JUSTID``. A script checks the owner first where
  another member may have claimed the entry.
- Entries that are pending for a dead member are claimed by ``XAUTOCLAIM`` after the visibility time.
- A leaving member hands its entries over: it claims them for the consumer ``left``, with an ``IDLE`` above the
  visibility time, and adds an entry to the stream ``msgbus:bell:group``. Every member reads that stream with
  ``XREAD BLOCK`` on a connection of its own, and then runs ``XAUTOCLAIM`` before it reads on.
- Entries of a retry queue are deleted when they are acknowledged.
- Dead letters are a stream without a group. They are read by ``XRANGE`` and deleted by the owner of the lock, the key
  ``msgbus:taker:{queue}``.
- Members trim a queue by ``XTRIM … MINID`` to entries that a group still needs or that are younger than the retention.
  An ``XADD`` never trims.
"""

from msgbus_redis.adapter import RedisAdapter
from msgbus_redis.options import RedisOptions

__all__ = ["RedisAdapter", "RedisOptions"]
