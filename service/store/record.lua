-- Records events of one listener: each once, the newest kept, opinions by time. One atomic round trip. The result depends
-- neither on the order nor on the repetition of events. Begins with outcomes.lua.
--
-- KEYS[1] events, KEYS[2] private events: hash event id -> version and msgpack array that begins with at_ms, type
-- KEYS[3] opinions: hash track id -> version, type and time of its newest like or dislike, a digit, a digit and a number
-- KEYS[4] blocks, which are kept as long as opinions
-- KEYS[5] outcomes: hash of the hour's counters of proposals' outcomes; left out if no event has one
-- ARGV    events kept, slack, their ttl in ms, ttl of private events, opinions kept, their ttl, ttl of the counters, most
--         counters, the beginning of further ones, then for each event: event id, packed event, track id, opinion, '1' if it is
--         private, counter; track id and opinion are '' if it is no opinion, and the counter if it is no outcome to count
-- Returns a string with 1 for each new event and 0 for each duplicate, and the number of keys replaced since they held no hash.

local keep, slack, ttl, private_ttl = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3], ARGV[4]
local keep_opinions, opinions_ttl = tonumber(ARGV[5]), ARGV[6]

-- Compares strings by their bytes: `<` in Lua follows the server's locale, and the order must be the readers' order.
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

-- The place of a stored event in time. What cannot be read is the oldest; an unknown version most likely begins alike.
local function event_place(value, id)
  local readable, _, event = pcall(cmsgpack.unpack, value)
  if readable and type(event) == 'table' and type(event[1]) == 'number' and type(event[2]) == 'number' then
    return {event[1], event[2], id}
  end
  return {-1, -1, id}
end

local function opinion_place(value, id)
  return {tonumber(string.sub(value, 3)) or -1, tonumber(string.sub(value, 2, 2)) or -1, id}
end

local function trim(key, kept, place)
  local rows, found = {}, redis.call('HGETALL', key)
  for i = 1, #found, 2 do
    rows[#rows + 1] = place(found[i + 1], found[i])
  end
  table.sort(rows, before)
  for i = 1, #rows - kept do
    redis.call('HDEL', key, rows[i][3])
  end
end

-- A key that holds no hash is of no version of this service. Left alone, it would have all later events refused.
local sizes, replaced = {}, 0
for i = 1, 3 do
  local size = redis.pcall('HLEN', KEYS[i])
  if type(size) == 'table' then
    if not string.find(size.err, 'WRONGTYPE', 1, true) then error(size.err) end
    redis.call('UNLINK', KEYS[i])
    size, replaced = 0, replaced + 1
  end
  sizes[i] = size
end

local fresh, private = {}, false
for i = 10, #ARGV, 6 do
  local event_id, packed, track_id, opinion = ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3]
  local key, new = 1, 0
  if ARGV[i + 4] == '1' then key, private = 2, true end
  if sizes[3 - key] == 0 or redis.call('HEXISTS', KEYS[3 - key], event_id) == 0 then
    new = redis.call('HSETNX', KEYS[key], event_id, packed)
  end
  fresh[#fresh + 1], sizes[key] = new, sizes[key] + new
  if new == 1 and opinion ~= '' then
    local known = redis.call('HGET', KEYS[3], track_id)
    if not known or before(opinion_place(known, ''), opinion_place(opinion, '')) then
      sizes[3] = sizes[3] + redis.call('HSET', KEYS[3], track_id, opinion)
    end
  end
  if new == 1 and ARGV[i + 5] ~= '' then
    count_outcome(KEYS[5], ARGV[i + 5], 1, tonumber(ARGV[8]), ARGV[9])
  end
end

if sizes[1] > keep + slack then trim(KEYS[1], keep, event_place) end
if sizes[2] > keep + slack then trim(KEYS[2], keep, event_place) end
if sizes[3] > keep_opinions then trim(KEYS[3], keep_opinions, opinion_place) end
redis.call('PEXPIRE', KEYS[1], ttl)
redis.call('PEXPIRE', KEYS[3], opinions_ttl)
if private then redis.call('PEXPIRE', KEYS[2], private_ttl) end
redis.call('PEXPIRE', KEYS[4], opinions_ttl)
if KEYS[5] then redis.call('PEXPIRE', KEYS[5], ARGV[7]) end
return {table.concat(fresh), replaced}
