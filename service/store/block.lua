-- Adds a block to a list. A block that is there keeps its time, and only writes prolong the expiry.
--
-- KEYS[1] blocks: hash of a block's text -> version of the format and time
-- ARGV    text, value, most blocks of a list, ttl in ms
-- Returns 1, or 0 if the list is full, and the number of keys replaced since they held no hash.

local known, replaced = redis.pcall('HGET', KEYS[1], ARGV[1]), 0
if type(known) == 'table' and known.err then
  if not string.find(known.err, 'WRONGTYPE', 1, true) then error(known.err) end
  redis.call('UNLINK', KEYS[1])
  known, replaced = false, 1
end
if not known and redis.call('HLEN', KEYS[1]) >= tonumber(ARGV[3]) then return {0, replaced} end
if not known or string.byte(known, 1) ~= string.byte(ARGV[2], 1) then redis.call('HSET', KEYS[1], ARGV[1], ARGV[2]) end
redis.call('PEXPIRE', KEYS[1], ARGV[4])
return {1, replaced}
