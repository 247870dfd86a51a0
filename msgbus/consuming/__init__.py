"""The part of this process in a group: subscriptions, assignment, worker pool, acknowledging."""
