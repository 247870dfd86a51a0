"""Lua: what must happen as one step. Sent whole each time, so that a restarted server costs nothing.

Every script touches one stream, KEYS[1]; ids are entry ids.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

    from msgbus_redis.connection import Command

__all__ = ["ACKNOWLEDGE", "CREATE", "EXTEND", "FINISH", "HOLD", "LEAVE", "LET_GO", "REAP", "REMOVE", "call"]

CREATE: Final = """
local kind = redis.call('TYPE', KEYS[1]).ok
if kind == 'none' then
  redis.call('XGROUP', 'CREATE', KEYS[1], 'msgbus-made', '0', 'MKSTREAM')
  redis.call('XGROUP', 'DESTROY', KEYS[1], 'msgbus-made')
elseif kind ~= 'stream' then
  return redis.error_reply('WRONGTYPE it is a ' .. kind)
end
for _, group in ipairs(ARGV) do
  local made = redis.pcall('XGROUP', 'CREATE', KEYS[1], group, '0')
  if made.err and not string.find(made.err, 'BUSYGROUP', 1, true) then return made end
end
return 'OK'
"""
"""ARGV: groups. An empty stream where there is none, and the groups that are missing, at 0."""

ACKNOWLEDGE: Final = """
local done = 0
for i = 3, #ARGV do
  if #redis.call('XPENDING', KEYS[1], ARGV[1], ARGV[i], ARGV[i], 1, ARGV[2]) > 0 then
    done = done + redis.call('XACK', KEYS[1], ARGV[1], ARGV[i])
  end
end
return done
"""
"""ARGV: group, consumer, ids. Acknowledges those that are pending for this consumer."""

EXTEND: Final = """
local lost = {}
for i = 3, #ARGV do
  if #redis.call('XPENDING', KEYS[1], ARGV[1], ARGV[i], ARGV[i], 1, ARGV[2]) > 0 then
    redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[2], 0, ARGV[i], 'JUSTID')
  else
    lost[#lost + 1] = ARGV[i]
  end
end
return lost
"""
"""ARGV: group, consumer, ids. The pending ones begin their idle time again; returns the others.

A bare XCLAIM would take an entry back from whoever took it over."""

LEAVE: Final = """
local from, given = '-', 0
while true do
  local page = redis.pcall('XPENDING', KEYS[1], ARGV[1], from, '+', 500, ARGV[2])
  if page.err then return 0 end
  if #page == 0 then break end
  local claim = {'XCLAIM', KEYS[1], ARGV[1], ARGV[3], '0'}
  for _, entry in ipairs(page) do claim[#claim + 1] = entry[1] end
  for _, word in ipairs({'IDLE', ARGV[4], 'JUSTID'}) do claim[#claim + 1] = word end
  redis.call(unpack(claim))
  given = given + #page
  from = '(' .. page[#page][1]
end
if #redis.call('XPENDING', KEYS[1], ARGV[1], '-', '+', 1, ARGV[2]) == 0 then
  redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], ARGV[2])
end
return given
"""
"""ARGV: group, consumer, who keeps it for others, idle ms. All that is pending goes to the keeper, idle for so long;
then the consumer's name is deleted, which would drop what is pending for it."""

REAP: Final = """
local reaped = 0
local consumers = redis.pcall('XINFO', 'CONSUMERS', KEYS[1], ARGV[1])
if consumers.err then return 0 end
for _, fields in ipairs(consumers) do
  local one = {}
  for i = 1, #fields, 2 do one[fields[i]] = fields[i + 1] end
  if one.pending == 0 and one.idle > tonumber(ARGV[2]) then
    redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], one.name)
    reaped = reaped + 1
  end
end
return reaped
"""
"""ARGV: group, ms. Deletes the names of consumers that have nothing pending and were idle for longer."""


HOLD: Final = """
if redis.call('GET', ARGV[1]) ~= ARGV[2] then return -1 end
return redis.call('PEXPIRE', ARGV[1], ARGV[3])
"""
"""ARGV: lock, token, ms. Renews the hold on a dead-letter queue; -1 if it is somebody else's."""

REMOVE: Final = """
if redis.call('GET', ARGV[1]) ~= ARGV[2] then return -1 end
redis.call('PEXPIRE', ARGV[1], ARGV[3])
return redis.call('XDEL', KEYS[1], unpack(ARGV, 4))
"""
"""ARGV: lock, token, ms, ids. Deletes letters while the hold lasts; -1 if it does not."""

LET_GO: Final = """
if redis.call('GET', ARGV[1]) ~= ARGV[2] then return 0 end
return redis.call('DEL', ARGV[1])
"""
"""ARGV: lock, token. Ends a hold."""

FINISH: Final = """
local done = 0
for i = 3, #ARGV do
  if #redis.call('XPENDING', KEYS[1], ARGV[1], ARGV[i], ARGV[i], 1, ARGV[2]) > 0 then
    redis.call('XACK', KEYS[1], ARGV[1], ARGV[i])
    done = done + redis.call('XDEL', KEYS[1], ARGV[i])
  end
end
return done
"""
"""ARGV: group, consumer, ids. As ACKNOWLEDGE for a retry queue, which nobody else reads: its entries go at once."""


def call(script: str, key: bytes, arguments: Iterable[str | bytes | int]) -> Command:
    """The command that runs ``script`` on the stream ``key``."""
    return ("EVAL", script, 1, key, *arguments)
