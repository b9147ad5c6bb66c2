-- The order of stored values. Events stand by time, type and id, and opinions by time and type: the readers' order.

-- Compares strings by their bytes: `<` in Lua follows the server's locale.
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

-- The place of a stored event in time, and its fields. What cannot be read is the oldest; an unknown version most likely begins
-- alike.
local function event_place(value, id)
  local readable, version, event = pcall(cmsgpack.unpack, value)
  if readable and type(event) == 'table' and type(event[1]) == 'number' and type(event[2]) == 'number' then
    return {event[1], event[2], id, event = version == 1 and event}
  end
  return {-1, -1, id}
end

local function opinion_place(value, id)
  return {tonumber(string.sub(value, 3)) or -1, tonumber(string.sub(value, 2, 2)) or -1, id}
end

-- All values of a hash by their order, the oldest first.
local function in_order(key, place)
  local rows, found = {}, redis.call('HGETALL', key)
  for i = 1, #found, 2 do
    rows[#rows + 1] = place(found[i + 1], found[i])
  end
  table.sort(rows, before)
  return rows
end

local function drop_oldest(key, rows, count)
  for i = 1, count do
    redis.call('HDEL', key, rows[i][3])
  end
end
