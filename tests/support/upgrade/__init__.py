"""Upgrades: two states of msgbus as members of one group, exchanged one at a time, forward and back.

- ``states``: the wheel of a state, installed in a virtual environment of its own.
- ``process_of_a_state``: the program that runs there; it speaks the names of both states.
- ``processes``: those processes, seen from here.
- ``load``: what is published, and what becomes of each message.
- ``rollout``: the steps on one server.
- ``judgement``: what is wrong with what the processes recorded.
"""
