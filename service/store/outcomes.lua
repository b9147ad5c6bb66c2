-- Adds `n` to the counter `field` in the hash `key`. A hash has room for `most` counters; a further one adds to the counter of its
-- outcome that begins with `other`. A counter that cannot be added to is left alone: counting must not fail what it counts.
local function count_outcome(key, field, n, most, other)
  local sum = redis.pcall('HINCRBY', key, field, n)
  if sum == n and redis.call('HLEN', key) > most then
    redis.call('HDEL', key, field)
    redis.pcall('HINCRBY', key, other .. string.match(field, '[^\t]*$'), n)
  end
end
