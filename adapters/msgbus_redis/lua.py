"""Lua: what must happen as one step. Sent whole each time, so that a restarted server costs nothing.

A script touches one stream, KEYS[1]; those for dead letters the lock KEYS[1] and the stream KEYS[2], both of one hash
tag. Ids are entry ids.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from msgbus_redis.connection.connection import Command

__all__ = [
    "ACKNOWLEDGE",
    "ACKNOWLEDGE_AND_DELETE",
    "ACQUIRE_LOCK",
    "ADD_MISSING",
    "CREATE_STREAM",
    "DELETE_DEAD_CONSUMERS",
    "EXTEND",
    "HAND_OVER",
    "RELEASE_LOCK",
    "REMOVE_DEAD_LETTERS",
    "RENEW_LOCK",
    "TRIM",
    "chunks",
    "script_command",
]

IDS_PER_SCRIPT: Final = 500
"""Ids of one script: it holds the server up for as long as it runs, about 1 ms."""

CREATE_STREAM: Final = """
local kind = redis.call('TYPE', KEYS[1]).ok
if kind == 'none' then
  redis.call('XGROUP', 'CREATE', KEYS[1], 'msgbus-made', '0', 'MKSTREAM')
  redis.call('XGROUP', 'DESTROY', KEYS[1], 'msgbus-made')
elseif kind ~= 'stream' then
  return redis.error_reply('WRONGTYPE it is a ' .. kind)
end
if ARGV[2] ~= '' then
  local kept = redis.call('HGET', KEYS[2], 'retention') or (kind == 'stream' and ARGV[1])
  if kept and kept ~= ARGV[2] then return {kept} end
  redis.call('HSET', KEYS[2], 'retention', ARGV[2])
end
for i = 3, #ARGV do
  local made = redis.pcall('XGROUP', 'CREATE', KEYS[1], ARGV[i], '0')
  if made.err and not string.find(made.err, 'BUSYGROUP', 1, true) then return made end
end
return 'OK'
"""
"""KEYS: the stream, and what is known about it. ARGV: ms of retention where nothing was said, ms of retention wanted or
'', groups. An empty stream where there is none, and the groups that are missing, at 0. Where there is one with another
retention than wanted, answers with that and makes nothing."""

ADD_MISSING: Final = """
local messages, wanted, open = {}, {}, 0
local at = 2
while at <= #ARGV do
  local size = tonumber(ARGV[at])
  local one = {unpack(ARGV, at + 1, at + size)}
  messages[#messages + 1] = {fields = one}
  wanted[one[2]] = wanted[one[2]] or {}
  table.insert(wanted[one[2]], messages[#messages])
  open = open + 1
  at = at + size + 1
end
local function same(one, other)
  if #one ~= #other then return false end
  for i = 1, #one do if one[i] ~= other[i] then return false end end
  return true
end
local from = ARGV[1]
while open > 0 do
  local page = redis.call('XRANGE', KEYS[1], from, '+', 'COUNT', 20)
  if #page == 0 then break end
  for _, entry in ipairs(page) do
    for _, one in ipairs(wanted[entry[2][2]] or {}) do
      if not one.found and same(one.fields, entry[2]) then
        one.found = entry[1]
        open = open - 1
        break
      end
    end
  end
  from = '(' .. page[#page][1]
end
local replies = {}
for i, one in ipairs(messages) do
  replies[i] = one.found or redis.pcall('XADD', KEYS[1], 'NOMKSTREAM', '*', unpack(one.fields))
end
return replies
"""
"""ARGV: the id from which on to look, then for each message the number of its words and name, value, name, value, the
first of them the id. Adds those of which no equal entry is there; answers an entry id, nil or an error for each."""

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

ACKNOWLEDGE_AND_DELETE: Final = """
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

HAND_OVER: Final = """
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

DELETE_DEAD_CONSUMERS: Final = """
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

TRIM: Final = """
local groups = redis.pcall('XINFO', 'GROUPS', KEYS[1])
if groups.err or #groups == 0 then return {0} end
local function named(flat)
  local one = {}
  for i = 1, #flat, 2 do one[flat[i]] = flat[i + 1] end
  return one
end
local function before(one, other)
  local ms, seq = string.match(one, '(%d+)-(%d+)')
  local other_ms, other_seq = string.match(other, '(%d+)-(%d+)')
  ms, other_ms = tonumber(ms), tonumber(other_ms)
  return ms < other_ms or ms == other_ms and tonumber(seq) < tonumber(other_seq)
end
local now = redis.call('TIME')
local kept = tonumber(redis.call('HGET', KEYS[2], 'retention') or ARGV[1])
local age = string.format('%.0f-0', math.max(now[1] * 1000 + math.floor(now[2] / 1000) - kept, 0))
local cut, answer = age, {0}
for _, flat in ipairs(groups) do
  local group = named(flat)
  local low = group['last-delivered-id']
  local oldest
  if group.pending > 0 then
    low = redis.call('XPENDING', KEYS[1], group.name)[2]
    oldest = low
  else
    local first = redis.call('XRANGE', KEYS[1], '(' .. low, '+', 'COUNT', 1)[1]
    oldest = first and first[1]
  end
  if before(low, cut) then cut = low end
  if oldest and before(oldest, age) then
    local alive = false
    for _, consumer in ipairs(redis.call('XINFO', 'CONSUMERS', KEYS[1], group.name)) do
      alive = alive or named(consumer).idle < tonumber(ARGV[3])
    end
    if not alive then answer[#answer + 1] = group.name end
  end
end
answer[1] = redis.call('XTRIM', KEYS[1], 'MINID', '~', cut, 'LIMIT', ARGV[2])
if answer[1] < ARGV[2] / 2 then answer[1] = answer[1] + redis.call('XTRIM', KEYS[1], 'MINID', cut) end
return answer
"""
"""KEYS: the stream, and what is known about it. ARGV: ms of retention where nothing was said, about how many entries at
most, ms. Deletes what is older than the retention and handled by every group: below the oldest pending entry, and
below the last that was delivered. Answers how many, and the groups that hold older entries and have no consumer that
was heard of for so long. Whole nodes first, since only they can be limited; then the rest of one node."""

ACQUIRE_LOCK: Final = """
local holder = redis.call('GET', KEYS[1])
if holder == ARGV[1] then
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
  return 1
end
if holder then return 0 end
redis.call('DEL', KEYS[1])
redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2])
return 2
"""
"""ARGV: token, ms. 2: nobody had it and it is ours now; 1: it was ours; 0: it is somebody else's.

The DEL deletes nothing: a server without memory refuses a SET, but not one that comes after another write of a script,
and a purge is what gives it memory."""

RENEW_LOCK: Final = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
"""
"""ARGV: token, ms. 0 where it is not ours."""

REMOVE_DEAD_LETTERS: Final = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return -1 end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return redis.call('XDEL', KEYS[2], unpack(ARGV, 3))
"""
"""ARGV: token, ms, ids. Deletes them; -1, and nothing is deleted, where the taker's key is not ours."""

RELEASE_LOCK: Final = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])
"""
"""ARGV: token."""


def script_command(script: str, keys: bytes | tuple[bytes, ...], arguments: Iterable[str | bytes | int]) -> Command:
    """The command that runs ``script`` on these keys."""
    named = (keys,) if isinstance(keys, bytes) else keys
    return ("EVAL", script, len(named), *named, *arguments)


def chunks(ids: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    """``ids`` in pieces for one script each."""
    for begin in range(0, len(ids), IDS_PER_SCRIPT):
        yield ids[begin : begin + IDS_PER_SCRIPT]


REWIND: Final = """
if redis.call('TYPE', KEYS[1]).ok ~= 'stream' then return redis.error_reply('ERR no such key') end
local consumers = redis.pcall('XINFO', 'CONSUMERS', KEYS[1], ARGV[1])
local living = {}
if not consumers.err then
  for _, fields in ipairs(consumers) do
    local one = {}
    for i = 1, #fields, 2 do one[fields[i]] = fields[i + 1] end
    if one.name ~= ARGV[3] and one.idle < tonumber(ARGV[4]) then living[#living + 1] = one.name end
  end
end
if #living > 0 then return living end
redis.call('XGROUP', 'DESTROY', KEYS[1], ARGV[1])
redis.call('XGROUP', 'CREATE', KEYS[1], ARGV[1], ARGV[2])
return {}
"""
"""ARGV: group, id, the keeper's name, ms. The consumers that were heard of since; if there is none, the group is made
anew behind the id: what was pending is forgotten."""
