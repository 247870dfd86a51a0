"""Memory: the reference.

A server is an object of this process, one per name and event loop. A queue is a log of messages; a group is a place in
it, with what its members hold. Publishing appends, and wakes whoever waits. What a member leaves unacknowledged goes
back to its group, in order, marked as redelivered.
"""

from msgbus_memory.adapter import MemoryAdapter
from msgbus_memory.options import MemoryOptions

__all__ = ["MemoryAdapter", "MemoryOptions"]
