-- Adds counts of proposals' outcomes to an hour's counters, each addition once. Begins with outcomes.lua.
--
-- KEYS[1] outcomes: hash of counters, and of each writer the number of its last addition
-- ARGV    ttl in ms, most counters, the beginning of further ones, writer, number of this addition, then field and count of each
-- Returns 1, or 0 if the addition has been made before.

local writer, number = 'writer:' .. ARGV[4], tonumber(ARGV[5])
if number <= tonumber(redis.call('HGET', KEYS[1], writer) or 0) then return 0 end
redis.call('HSET', KEYS[1], writer, number)
for i = 6, #ARGV, 2 do
  count_outcome(KEYS[1], ARGV[i], tonumber(ARGV[i + 1]), tonumber(ARGV[2]), ARGV[3])
end
redis.call('PEXPIRE', KEYS[1], ARGV[1])
return 1
