-- Reads what is kept of one listener, in one round trip and as few values as possible. The packed events are returned as one
-- string, which the reader decodes at once. It only reads, so no key expires later.
--
-- KEYS as in record.lua. ARGV[1] '1' to read the long history too
-- The constants VERSION and DISLIKE stand before the script: the first two bytes of a stored dislike. A stored block begins with
-- the same version.
-- Returns the number of events, the events, how many of them are private, and the ms until they expire (negative: there are none).
-- Most listeners have no more. Of the others it also returns the disliked tracks, how many opinions have an unknown version, how many
-- keys hold a value of another type, the blocks with line breaks between them, how many blocks have an unknown version, and if it is
-- read the long history and its tracks.

local unknown, unknown_blocks, broken = 0, 0, 0

local function read(command, key)
  local found = redis.pcall(command, key)
  if type(found) ~= 'table' or not found.err then return found end
  if not string.find(found.err, 'WRONGTYPE', 1, true) then error(found.err) end
  broken = broken + 1
  return {}
end

local events, expires, private, disliked, blocked = read('HVALS', KEYS[1]), redis.call('PTTL', KEYS[1]), 0, {}, {}
local count = #events
if redis.call('EXISTS', KEYS[2], KEYS[3], KEYS[4]) > 0 then  -- most listeners have none of them
  local hidden, opinions, blocks = read('HVALS', KEYS[2]), read('HGETALL', KEYS[3]), read('HGETALL', KEYS[4])
  private, expires = #hidden, math.max(expires, redis.call('PTTL', KEYS[2]))
  for i = 1, private do
    events[count + i] = hidden[i]
  end
  for i = 2, #opinions, 2 do
    local version, type = string.byte(opinions[i], 1, 2)
    if version ~= VERSION then
      unknown = unknown + 1
    elseif type == DISLIKE then
      disliked[#disliked + 1] = opinions[i - 1]
    end
  end
  for i = 2, #blocks, 2 do
    if string.byte(blocks[i], 1) == VERSION then
      blocked[#blocked + 1] = blocks[i - 1]
    else
      unknown_blocks = unknown_blocks + 1
    end
  end
end
local long, tracks = '', ''
if ARGV[1] == '1' then
  long, tracks = read('GET', KEYS[5]), read('GET', KEYS[6])
  if type(long) ~= 'string' then long = '' end
  if type(tracks) ~= 'string' then tracks = '' end
end
if not disliked[1] and not blocked[1] and long == '' and unknown + broken + unknown_blocks == 0 then
  return {count + private, table.concat(events), private, expires}
end
return {
  count + private, table.concat(events), private, expires, disliked, unknown, broken, table.concat(blocked, '\n'),
  unknown_blocks, long, tracks,
}
