"""Sticky assignors that share no memory.

aiokafka 0.14: ``StickyPartitionAssignor`` keeps a member's last assignment in class attributes. All consumers of a
process share it, also those of other groups and of past memberships. So a consumer that joins a group claims partitions
that another process holds, and the assignor takes them from their owner. Tests: test_sticky_assignor.py, and
test_client_defects.py, "a newcomer finds the lock taken". Remove when aiokafka keeps this state in the instance.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiokafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor

if TYPE_CHECKING:
    from aiokafka.coordinator.assignors.abstract import AbstractPartitionAssignor

__all__ = ["new_sticky_assignor"]


def new_sticky_assignor() -> type[AbstractPartitionAssignor]:
    """Return a new sticky assignor class, for one consumer only."""
    return type("StickyAssignor", (StickyPartitionAssignor,), {})
