"""Types of the aiokafka objects that msgbus uses. aiokafka has no types of its own: these list what is used of it.

Private names are for :mod:`msgbus_kafka.aiokafka_internals` only, which says for each why it is needed; its ``verify``
checks that they exist. An attribute that is typed as a callable is a method that is replaced there.
"""
