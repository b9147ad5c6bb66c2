-- Reads what is kept of one listener, in one round trip and as few values as possible. The packed events are returned as one
-- string, which the reader decodes at once. It only reads, so no key expires later.
--
-- KEYS as in record.lua. ARGV[1] the first characters of a stored dislike, of which the first is the version; ARGV[2] '1' to read
-- the long history too
-- Returns the number of events, the events, how many of them are private, the ms until they expire (negative: there are none),
-- the disliked tracks, how many opinions have an unknown version, how many keys hold a value of another type, the blocks with line
-- breaks between them, how many blocks have an unknown version, and if it is read the long history and its tracks.

local unknown, broken = 0, 0

local function read(command, key)
  local found = redis.pcall(command, key)
  if type(found) ~= 'table' or not found.err then return found end
  if not string.find(found.err, 'WRONGTYPE', 1, true) then error(found.err) end
  broken = broken + 1
  return {}
end

local events, private, opinions = read('HVALS', KEYS[1]), read('HVALS', KEYS[2]), read('HGETALL', KEYS[3])
local count, hidden = #events, #private
for i = 1, hidden do
  events[count + i] = private[i]
end
local version, dislike, disliked = string.byte(ARGV[1], 1), string.byte(ARGV[1], 2), {}
for i = 2, #opinions, 2 do
  local found, type = string.byte(opinions[i], 1, 2)
  if found ~= version then
    unknown = unknown + 1
  elseif type == dislike then
    disliked[#disliked + 1] = opinions[i - 1]
  end
end
local blocks, blocked, unknown_blocks = read('HGETALL', KEYS[4]), {}, 0
for i = 2, #blocks, 2 do
  if string.byte(blocks[i], 1) == version then
    blocked[#blocked + 1] = blocks[i - 1]
  else
    unknown_blocks = unknown_blocks + 1
  end
end
local expires = math.max(redis.call('PTTL', KEYS[1]), redis.call('PTTL', KEYS[2]))
local long, tracks = '', ''
if ARGV[2] == '1' then
  long, tracks = read('GET', KEYS[5]), read('GET', KEYS[6])
  if type(long) ~= 'string' then long = '' end
  if type(tracks) ~= 'string' then tracks = '' end
end
return {
  count + hidden, table.concat(events), hidden, expires, disliked, unknown, broken, table.concat(blocked, '\n'), unknown_blocks,
  long, tracks,
}
