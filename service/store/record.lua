-- Record events of one listener: once each, the newest kept, opinions by time. One round trip, atomic, and its result
-- depends neither on the order nor on the repetition of events.
--
-- KEYS[1] events: hash event id -> msgpack array that begins with at_ms, type
-- KEYS[2] opinions: hash track id -> stamp (at_ms * 8 + type) of its newest like or dislike
-- ARGV    events kept, slack, their ttl in ms, opinions kept, their ttl in ms, then for each event:
--         event id, packed event, track id, stamp; the last two empty unless it is an opinion
-- Returns a string with 1 for each new event, 0 for each duplicate.

local keep, slack, ttl = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3]
local keep_opinions, opinions_ttl = tonumber(ARGV[4]), ARGV[5]

-- Strings by their bytes: `<` in Lua follows the server's locale, and the readers' order must be the same everywhere.
local function bytes_before(a, b)
  for i = 1, math.min(#a, #b) do
    local x, y = string.byte(a, i), string.byte(b, i)
    if x ~= y then return x < y end
  end
  return #a < #b
end

local function before(a, b)
  for i = 1, 2 do
    if a[i] ~= b[i] then return a[i] < b[i] end
  end
  return bytes_before(a[3], b[3])
end

local function drop_oldest(key, rows, kept)
  table.sort(rows, before)
  for i = 1, #rows - kept do
    redis.call('HDEL', key, rows[i][3])
  end
end

local fresh = {}
for i = 6, #ARGV, 4 do
  local event_id, packed, track_id, stamp = ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3]
  local new = redis.call('HSETNX', KEYS[1], event_id, packed)
  fresh[#fresh + 1] = new
  if new == 1 and stamp ~= '' then
    local known = redis.call('HGET', KEYS[2], track_id)
    if not known or tonumber(known) < tonumber(stamp) then
      redis.call('HSET', KEYS[2], track_id, stamp)
    end
  end
end

if redis.call('HLEN', KEYS[1]) > keep + slack then
  local rows, found = {}, redis.call('HGETALL', KEYS[1])
  for i = 1, #found, 2 do
    local event = cmsgpack.unpack(found[i + 1])
    rows[#rows + 1] = {event[1], event[2], found[i]}
  end
  drop_oldest(KEYS[1], rows, keep)
end

if redis.call('HLEN', KEYS[2]) > keep_opinions then
  local rows, found = {}, redis.call('HGETALL', KEYS[2])
  for i = 1, #found, 2 do
    rows[#rows + 1] = {tonumber(found[i + 1]), 0, found[i]}
  end
  drop_oldest(KEYS[2], rows, keep_opinions)
end

redis.call('PEXPIRE', KEYS[1], ttl)
redis.call('PEXPIRE', KEYS[2], opinions_ttl)
return table.concat(fresh)
