-- Records events of one listener: each once, the newest kept, opinions by time. One atomic round trip. Within the newest events the
-- result depends neither on the order nor on the repetition of events. Follows outcomes.lua, and the function `history`, which is
-- order.lua and long_history.lua.
--
-- KEYS[1] events, KEYS[2] private events: hash event id -> version and msgpack array that begins with at_ms, type
-- KEYS[3] opinions: hash track id -> version, type and time of its newest like or dislike, a digit, a digit and a number
-- KEYS[4] blocks, which are kept as long as opinions
-- KEYS[5] long history, KEYS[6] its tracks: strings, see long_history.lua
-- KEYS[7] outcomes: hash of the hour's counters of proposals' outcomes; left out if no event has one
-- ARGV    for each event: event id, packed event, track id, opinion, '1' if it is private, counter; track id and opinion are ''
--         if it is no opinion, and the counter if it is no outcome to count
-- The constants of `RedisSessions` stand before the script: KEEP events and SLACK more; OPINIONS kept; LONG_PLAYS of the long
-- history, its LONG_VERSION, and the bytes of its HEADER; in ms TTL of events and long history, PRIVATE_TTL, OPINIONS_TTL,
-- COUNTERS_TTL; COUNTERS at most and OTHER, the beginning of further ones; GAP_MS and NAMED_GAP_MS, a session's gap without and
-- with a name; LIMIT_MS and END_SHARE of the skip rule.
-- Returns a string with 1 for each new event and 0 for each duplicate. An event that would lie among those that have left the window
-- counts as a duplicate. If keys were replaced since they held no hash, it returns this string and their number.

local made
-- Lua makes all functions of a script anew at each run. The ordinary event needs none of these.
local function library()
  made = made or history()
  return made
end

-- A key is left alone while it has at least 99 % of its time. So a write does not become two in the append-only file. Returns whether
-- it was left alone and has no more than `ttl`. It has more if `ttl` was longer before.
local function prolong(key, ttl)
  local left = redis.call('PTTL', key)
  if left >= 0.99 * ttl then return left <= ttl end
  if left ~= -2 then redis.call('PEXPIRE', key, ttl) end
  return false
end

local sizes, replaced = {0, 0}, 0

-- A key that holds no hash is of no version of this service. Left alone, it would have all later events refused.
local function measure(i)
  local size = redis.pcall('HLEN', KEYS[i])
  if type(size) == 'table' then
    if not string.find(size.err, 'WRONGTYPE', 1, true) then error(size.err) end
    redis.call('UNLINK', KEYS[i])
    size, replaced = 0, replaced + 1
  end
  sizes[i] = size
end

-- The place of the newest event that has left the window (nil if none has), and whether this version may append to the long history.
local watermark, can_append = nil, true

local function read_watermark()
  local head = redis.pcall('GETRANGE', KEYS[5], 0, HEADER - 1)
  if type(head) == 'table' and not string.find(head.err, 'WRONGTYPE', 1, true) then error(head.err) end
  if head == '' then return end
  if type(head) == 'string' and string.byte(head) ~= LONG_VERSION then
    can_append = false
  elseif type(head) == 'table' or #head < HEADER then
    redis.call('UNLINK', KEYS[5], KEYS[6])
    replaced = replaced + 1
  else
    local _, at_ms, kind, size = struct.unpack('<Bi8BI2', head)
    watermark = {at_ms * 256 + kind, string.sub(head, 13, 12 + size)}
  end
end

local function has_left(event_id, packed)
  if not watermark then return false end
  local _, event = cmsgpack.unpack(packed)
  local moment = event[1] * 256 + event[2]
  if moment ~= watermark[1] then return moment < watermark[1] end
  return not library().before(watermark, {moment, event_id})
end

local function record_opinion(track_id, opinion)
  measure(3)
  local known = redis.call('HGET', KEYS[3], track_id)
  if not known or library().before(library().opinion_place(known, ''), library().opinion_place(opinion, '')) then
    sizes[3] = sizes[3] + redis.call('HSET', KEYS[3], track_id, opinion)
  end
  if sizes[3] > OPINIONS then library().trim(KEYS[3], OPINIONS, library().opinion_place) end
  prolong(KEYS[3], OPINIONS_TTL)
end

measure(1)
local has_more = redis.call('EXISTS', KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]) > 0
if has_more then
  measure(2)
  read_watermark()
end

local fresh, private = {}, false
for i = 1, #ARGV, 6 do
  local event_id, packed, track_id, opinion = ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3]
  local key, new = 1, 0
  if ARGV[i + 4] == '1' then key, private = 2, true end
  local is_late = key == 1 and has_left(event_id, packed)
  if not is_late and (sizes[3 - key] == 0 or redis.call('HEXISTS', KEYS[3 - key], event_id) == 0) then
    new = redis.call('HSETNX', KEYS[key], event_id, packed)
  end
  fresh[#fresh + 1], sizes[key] = new, sizes[key] + new
  if (new == 1 or is_late) and opinion ~= '' then record_opinion(track_id, opinion) end
  if new == 1 and ARGV[i + 5] ~= '' then count_outcome(KEYS[7], ARGV[i + 5], 1, COUNTERS, OTHER) end
end

local appended = false
if sizes[1] > KEEP + SLACK then
  if LONG_PLAYS > 0 and can_append then
    library().leave(KEYS[1], KEYS[5], KEYS[6], watermark)
    appended = true
  else
    library().trim(KEYS[1], KEEP, library().event_place)
  end
end
if sizes[2] > KEEP + SLACK then library().trim(KEYS[2], KEEP, library().event_place) end
if private then redis.call('PEXPIRE', KEYS[2], PRIVATE_TTL) end
-- While the events have their time, the others have theirs too, because they were prolonged together.
local is_in_time = prolong(KEYS[1], TTL) and OPINIONS_TTL >= TTL
if appended or has_more and not is_in_time then
  prolong(KEYS[3], OPINIONS_TTL)
  prolong(KEYS[4], OPINIONS_TTL)
  prolong(KEYS[5], TTL)
  prolong(KEYS[6], TTL)
end
if KEYS[7] then prolong(KEYS[7], COUNTERS_TTL) end
if replaced > 0 then return {table.concat(fresh), replaced} end
return table.concat(fresh)
