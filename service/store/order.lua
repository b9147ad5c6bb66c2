-- The order of stored values. Events stand by time, type and id, and opinions by time and type: the readers' order.

-- Compares strings by their bytes: `<` in Lua follows the server's locale.
local function bytes_before(a, b)
  for i = 1, math.min(#a, #b) do
    local x, y = string.byte(a, i), string.byte(b, i)
    if x ~= y then return x < y end
  end
  return #a < #b
end

-- Places are {moment, id}. A moment is 256 times the time in ms plus the type, which a number holds exactly.
local function before(a, b)
  if a[1] ~= b[1] then return a[1] < b[1] end
  return bytes_before(a[2], b[2])
end

-- The place of a stored event in time, and its fields. What cannot be read is the oldest; an unknown version most likely begins
-- alike.
local function event_place(value, id)
  local readable, version, event = pcall(cmsgpack.unpack, value)
  if readable and type(event) == 'table' and type(event[1]) == 'number' and type(event[2]) == 'number' then
    local moment = event[1] * 256 + event[2]
    if moment == moment then return {moment, id, event = version == 1 and event} end  -- it is not, if a time is no number (NaN)
  end
  return {-1, id}
end

local function opinion_place(value, id)
  local moment = (tonumber(string.sub(value, 3)) or -1) * 256 + (tonumber(string.sub(value, 2, 2)) or 0)
  return {moment == moment and moment or -1, id}  -- Lua reads the text `nan` as a number
end

-- All values of a hash by their order, the oldest first. Most moments are those of one value, and numbers alone are sorted in a fifth
-- of the time.
local function in_order(key, place)
  local moments, of_moment, rows, found = {}, {}, {}, redis.call('HGETALL', key)
  for i = 1, #found, 2 do
    local row = place(found[i + 1], found[i])
    local same = of_moment[row[1]]
    if same then
      same[#same + 1] = row
    else
      moments[#moments + 1], of_moment[row[1]] = row[1], {row}
    end
  end
  table.sort(moments)
  for _, moment in ipairs(moments) do
    local same = of_moment[moment]
    if same[2] then table.sort(same, before) end
    for _, row in ipairs(same) do
      rows[#rows + 1] = row
    end
  end
  return rows
end

-- The ids are passed in slices, because a call takes 8,000 arguments at most.
local function drop_oldest(key, rows, count)
  for first = 1, count, 1000 do
    local ids = {}
    for i = first, math.min(first + 999, count) do
      ids[#ids + 1] = rows[i][2]
    end
    redis.call('HDEL', key, unpack(ids))
  end
end

local function trim(key, kept, place)
  local rows = in_order(key, place)
  drop_oldest(key, rows, #rows - kept)
end
