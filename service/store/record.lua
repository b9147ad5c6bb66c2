-- Records events of one listener: each once, the newest kept, opinions by time. One atomic round trip. Within the newest events the
-- result depends neither on the order nor on the repetition of events. Begins with outcomes.lua, order.lua and long_history.lua.
--
-- KEYS[1] events, KEYS[2] private events: hash event id -> version and msgpack array that begins with at_ms, type
-- KEYS[3] opinions: hash track id -> version, type and time of its newest like or dislike, a digit, a digit and a number
-- KEYS[4] blocks, which are kept as long as opinions
-- KEYS[5] long history, KEYS[6] its tracks: strings, see long_history.lua
-- KEYS[7] outcomes: hash of the hour's counters of proposals' outcomes; left out if no event has one
-- ARGV    events kept, slack, their ttl in ms, ttl of private events, opinions kept, their ttl, ttl of the counters, most
--         counters, the beginning of further ones; plays of the long history, a session's gap in ms without and with a name, the skip
--         rule's limit in ms and share; then for each event: event id, packed event, track id, opinion, '1' if it is
--         private, counter; track id and opinion are '' if it is no opinion, and the counter if it is no outcome to count
-- Returns a string with 1 for each new event and 0 for each duplicate, and the number of keys replaced since they held no hash. An
-- event that would lie among those that have left the window counts as a duplicate.

local keep, slack, ttl, private_ttl = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3], ARGV[4]
local keep_opinions, opinions_ttl, long_plays = tonumber(ARGV[5]), ARGV[6], tonumber(ARGV[10])
local rule = {
  gap_ms = tonumber(ARGV[11]), named_gap_ms = tonumber(ARGV[12]), limit_ms = tonumber(ARGV[13]), end_share = tonumber(ARGV[14]),
}

local function trim(key, kept, place)
  local rows = in_order(key, place)
  drop_oldest(key, rows, #rows - kept)
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

local watermark, can_append, lost = read_watermark(KEYS[5], KEYS[6])
replaced = replaced + lost
local fresh, private = {}, false
for i = 15, #ARGV, 6 do
  local event_id, packed, track_id, opinion = ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3]
  local key, new = 1, 0
  if ARGV[i + 4] == '1' then key, private = 2, true end
  local has_left = key == 1 and watermark and not before(watermark, event_place(packed, event_id))
  if not has_left and (sizes[3 - key] == 0 or redis.call('HEXISTS', KEYS[3 - key], event_id) == 0) then
    new = redis.call('HSETNX', KEYS[key], event_id, packed)
  end
  fresh[#fresh + 1], sizes[key] = new, sizes[key] + new
  if (new == 1 or has_left) and opinion ~= '' then
    local known = redis.call('HGET', KEYS[3], track_id)
    if not known or before(opinion_place(known, ''), opinion_place(opinion, '')) then
      sizes[3] = sizes[3] + redis.call('HSET', KEYS[3], track_id, opinion)
    end
  end
  if new == 1 and ARGV[i + 5] ~= '' then
    count_outcome(KEYS[7], ARGV[i + 5], 1, tonumber(ARGV[8]), ARGV[9])
  end
end

if sizes[1] > keep + slack then
  if long_plays > 0 and can_append then
    leave(KEYS[1], KEYS[5], KEYS[6], keep, slack, long_plays, rule, watermark)
  else
    trim(KEYS[1], keep, event_place)
  end
end
if sizes[2] > keep + slack then trim(KEYS[2], keep, event_place) end
if sizes[3] > keep_opinions then trim(KEYS[3], keep_opinions, opinion_place) end
redis.call('PEXPIRE', KEYS[1], ttl)
redis.call('PEXPIRE', KEYS[3], opinions_ttl)
redis.call('PEXPIRE', KEYS[5], ttl)
redis.call('PEXPIRE', KEYS[6], ttl)
if private then redis.call('PEXPIRE', KEYS[2], private_ttl) end
redis.call('PEXPIRE', KEYS[4], opinions_ttl)
if KEYS[7] then redis.call('PEXPIRE', KEYS[7], ARGV[7]) end
return {table.concat(fresh), replaced}
