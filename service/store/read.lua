-- Read what is kept of one listener, in one round trip and as few values as possible: the packed events come as one
-- string, which the reader decodes at once. Reads only; nothing expires later because somebody looked.
--
-- KEYS as in record.lua; ARGV[1] the number of the type dislike
-- Returns the number of events, the events, the ms until they expire (negative: there are none), the disliked tracks.

local events = redis.call('HVALS', KEYS[1])
local opinions = redis.call('HGETALL', KEYS[2])
local disliked = {}
for i = 1, #opinions, 2 do
  if tonumber(opinions[i + 1]) % 8 == tonumber(ARGV[1]) then
    disliked[#disliked + 1] = opinions[i]
  end
end
return {#events, table.concat(events), redis.call('PTTL', KEYS[1]), disliked}
