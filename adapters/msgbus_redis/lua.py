"""Lua scripts, for everything that must be one step.

A script is sent whole each time, so that a restarted server costs nothing. It touches one stream, KEYS[1]. Scripts for
dead letters touch the lock KEYS[1] and the stream KEYS[2], both of one hash tag. Ids are entry ids.
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
    "REWIND",
    "TRIM",
    "chunks",
    "script_command",
]

IDS_PER_SCRIPT: Final = 500
"""Ids of one script: it blocks the server for as long as it runs, about 1 ms."""

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
"""Creates an empty stream where there is none, and at 0 the groups that are missing.

KEYS: the stream, its settings. ARGV: the default retention in ms, the retention asked for in ms or '', groups.
Answers OK; or a list with the retention in ms where that is another one, and creates nothing."""

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
"""Adds those messages that have no equal entry yet.

ARGV: the id from which on to search; then for each message the number of its words, and name, value, name, value, of
which the first is the message id. Answers an entry id, nil or an error for each."""

ACKNOWLEDGE: Final = """
local done = 0
for i = 3, #ARGV do
  if #redis.call('XPENDING', KEYS[1], ARGV[1], ARGV[i], ARGV[i], 1, ARGV[2]) > 0 then
    done = done + redis.call('XACK', KEYS[1], ARGV[1], ARGV[i])
  end
end
return done
"""
"""Acknowledges those entries that are pending for this consumer. ARGV: group, consumer, ids."""

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
"""Acknowledges as ACKNOWLEDGE and deletes at once, for a retry queue, which no other group reads.

ARGV: group, consumer, ids."""

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
"""Resets the idle time of the entries that are pending for this consumer. Returns the ids of the other entries.

ARGV: group, consumer, ids. An XCLAIM alone would take an entry back from the member that has claimed it meanwhile."""

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
"""Claims all entries that are pending for a leaving consumer for another name, then deletes the consumer.

ARGV: group, leaving consumer, the other name, idle ms that the entries have then. Deleting a consumer drops its pending
entries, so the script checks first that there are none. Returns the number of entries."""

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
"""Deletes the names of consumers that have nothing pending and were idle for longer than that. ARGV: group, ms."""

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
"""Deletes entries that are older than the retention and handled by every group.

Those are below the oldest pending entry and below the last one that was delivered, of each group. Whole nodes of the
stream are deleted first, since only that can be limited; then the rest of one node.

KEYS: the stream, its settings. ARGV: the default retention in ms, the number of entries to delete (approximate), ms
without a command after which a consumer is dead. Answers the number of deleted entries, and the groups that keep older
entries and have no living consumer."""

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
"""Acquires the lock. ARGV: token, ms. Answers 2: it was free; 1: this token had it; 0: another token has it.

The DEL deletes nothing. A server without memory refuses a SET, but not a SET after another write of the same script.
Only a purge would free memory, and a purge needs the lock."""

RENEW_LOCK: Final = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
"""
"""Renews the lock. ARGV: token, ms. Answers 0 where this token does not have it."""

REMOVE_DEAD_LETTERS: Final = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return -1 end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return redis.call('XDEL', KEYS[2], unpack(ARGV, 3))
"""
"""Deletes entries and renews the lock. ARGV: token, ms, ids.

Answers -1, and deletes nothing, where this token does not have the lock."""

RELEASE_LOCK: Final = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])
"""
"""Releases the lock, where this token has it. ARGV: token."""


def script_command(script: str, keys: bytes | tuple[bytes, ...], arguments: Iterable[str | bytes | int]) -> Command:
    """Return the command that runs ``script`` on these keys."""
    named = (keys,) if isinstance(keys, bytes) else keys
    return ("EVAL", script, len(named), *named, *arguments)


def chunks(ids: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    """Yield ``ids`` in parts, each for one script."""
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
"""Creates a group again behind an id; its pending entries are forgotten.

ARGV: group, id, the consumer name of handovers, ms. Answers the names of consumers that sent a command within these ms,
and then changes nothing."""
