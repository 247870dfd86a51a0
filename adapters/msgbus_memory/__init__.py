"""Memory: the reference adapter.

- A server is an object of this process, one per name and event loop.
- A queue is a log of messages. A group is a position in it, with the deliveries that its members have in flight.
- Publishing appends to the log and wakes the consumers that wait.
- What a member leaves unacknowledged goes back to its group, in order, and is marked as redelivered.
"""

from msgbus_memory.adapter import MemoryAdapter
from msgbus_memory.options import MemoryOptions

__all__ = ["MemoryAdapter", "MemoryOptions"]
