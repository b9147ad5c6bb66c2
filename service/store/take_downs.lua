-- Changes the list of what is taken down for everybody. A list has a lineage, a random text that its first entry brings, and
-- counts its changes. So a reader sees whether it knows the list already, and whether it is the list that it knew.
--
-- KEYS[1] hash: lineage, changes, and for each block its text -> version of the format and time. It never expires
-- ARGV    'add' or 'remove', a new lineage, most blocks of a list, then text and value of each block
-- Returns 1, or 0 if not all blocks had room.

local changed, room = 0, 1
redis.call('HSETNX', KEYS[1], 'lineage', ARGV[2])
for i = 4, #ARGV, 2 do
  if ARGV[1] == 'remove' then
    changed = changed + redis.call('HDEL', KEYS[1], ARGV[i])
  elseif redis.call('HEXISTS', KEYS[1], ARGV[i]) == 0 then
    if redis.call('HLEN', KEYS[1]) < tonumber(ARGV[3]) + 2 then
      changed = changed + redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1])
    else
      room = 0
    end
  end
end
redis.call('HINCRBY', KEYS[1], 'changes', changed)
return room
