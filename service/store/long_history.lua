-- Moves a listener's oldest events out of the exact window and into the long history: whole plays, each once. Follows order.lua.
--
-- long    string: version (1 byte), watermark (time in ms: 8, type: 1, bytes of the event id: 2, the id: 256), bytes of `tracks` (4),
--         then 12 bytes for each play, oldest first: its time in ms times 8 plus its outcome (8), the number of its track (4)
-- tracks  string: version, then each distinct track id and a line feed. A track's number counts them from 0
--
-- The watermark is the place of the newest event that has left. An event that does not lie after it has left before, or comes too
-- late. It is not stored. So each event leaves once, and plays are appended in the order of their times.

local PLAY_BYTES, ID_BYTES = 12, 256
local PLAY, SKIP, COMPLETE, LIKE = 0, 1, 2, 3
local PLAYED, SKIPPED, LIKED, DISLIKED = 1, 2, 3, 4

local function write_header(long, watermark, size)
  local id = string.sub(watermark[2], 1, ID_BYTES)
  local padded = id .. string.rep('\0', ID_BYTES - #id)
  local at_ms, kind = math.floor(watermark[1] / 256), watermark[1] % 256
  local head = struct.pack('<Bi8BI2c256I4', LONG_VERSION, at_ms, kind, #id, padded, size)
  redis.call('SETRANGE', long, 0, head)
end

-- `model.events.SkipRule.skipped`.
local function is_skipped(kind, played_ms, track_ms)
  if not played_ms then return kind == SKIP end
  if played_ms >= LIMIT_MS then return false end
  if not track_ms then return kind == SKIP end
  return played_ms < END_SHARE * track_ms
end

-- The session of an event, given the session of the event before: as in `model.events.fold`.
local function session_of(at_ms, name, last, named)
  local found = last
  if name then
    found = named[name]
    if not found or at_ms - found.named_at_ms > NAMED_GAP_MS then
      found = {is_named = true, newest = {}, open = {}}
      named[name] = found
    end
    found.named_at_ms = at_ms
  elseif not last or at_ms - last.seen_ms > GAP_MS then
    found = {newest = {}, open = {}}
  end
  found.seen_ms = at_ms
  return found
end

-- Adds an event to the play that it belongs to, or makes one. Returns the play, and whether it is new.
local function add_to_play(event, i, session)
  local at_ms, kind, track, play = event[1], event[2], event[4], nil
  if kind > COMPLETE then
    play = session.newest[track]
  elseif kind ~= PLAY then
    play, session.open[track] = session.open[track], nil
  end
  local is_new = not play
  if is_new then
    play = {track = track, at_ms = at_ms, outcome = PLAYED, first = i}
    session.newest[track] = play
  end
  if kind == PLAY then
    session.open[track] = play
  elseif kind > COMPLETE then
    play.outcome = kind == LIKE and LIKED or DISLIKED
  elseif play.outcome == PLAYED and is_skipped(kind, event[6], event[7]) then
    play.outcome = SKIPPED
  end
  play.last = i
  return play, is_new
end

-- The plays of events in order, as `model.events.fold` makes them, each with the places of its first and last event. And for each
-- place how many reasons there are not to cut after it: plays with events on both sides, and nameless events that belong to a named
-- session, which the events behind the cut alone would not tell.
local function fold(rows)
  local plays, crossed, named, session, changes = {}, {}, {}, nil, {}
  for i = 0, #rows do changes[i] = 0 end
  for i, row in ipairs(rows) do
    local event = row.event
    if event and event[4] then
      local last, play, is_new = session, nil, nil
      session = session_of(event[1], event[8], last, named)
      if not event[8] and session == last and session.is_named then
        changes[i - 1], changes[i] = changes[i - 1] + 1, changes[i] - 1
      end
      play, is_new = add_to_play(event, i, session)
      if is_new then plays[#plays + 1] = play end
    end
  end
  for _, play in ipairs(plays) do
    changes[play.first] = changes[play.first] + 1
    changes[play.last] = changes[play.last] - 1  -- not in one statement with the line before: both may be one place
  end
  local open = changes[0]
  for i = 1, #rows do
    open = open + changes[i]
    crossed[i] = open
  end
  return plays, crossed
end

-- How many events leave: all but the newest KEEP, or up to half of the slack fewer, so that no play is cut. Where that is not
-- enough, a play is cut, and its later events make a play of their own.
local function places_to_leave(crossed)
  local most = #crossed - KEEP
  for cut = most, most - math.floor(SLACK / 2), -1 do
    if crossed[cut] == 0 then return cut end
  end
  return most
end

-- The numbers of the tracks, and how many there are.
local function read_tracks(tracks)
  local numbers, count = {}, 0
  for id in string.gmatch(string.sub(redis.call('GET', tracks) or '', 2), '[^\n]+') do
    numbers[id], count = count, count + 1
  end
  return numbers, count
end

local function append(long, tracks, plays, watermark)
  local kind = redis.call('TYPE', tracks).ok
  local size = kind == 'string' and redis.call('STRLEN', tracks) or 0
  local head = redis.call('GETRANGE', long, HEADER - 4, HEADER - 1)
  -- One of both keys was lost, or `tracks` is of no version of this service.
  if head ~= '' and struct.unpack('<I4', head) ~= size or kind ~= 'string' and kind ~= 'none' then
    redis.call('UNLINK', long, tracks)
    size = 0
  end
  local numbers, count = read_tracks(tracks)
  local packed, added = {}, {size == 0 and string.char(LONG_VERSION) or ''}
  for _, play in ipairs(plays) do
    if not numbers[play.track] then
      numbers[play.track], count = count, count + 1
      added[#added + 1] = play.track .. '\n'
    end
    packed[#packed + 1] = struct.pack('<i8I4', play.at_ms * 8 + play.outcome, numbers[play.track])
  end
  write_header(long, watermark, redis.call('APPEND', tracks, table.concat(added)))
  redis.call('APPEND', long, table.concat(packed))
end

-- Keeps the newest LONG_PLAYS plays and their tracks.
local function compact(long, tracks, watermark)
  local value, ids, numbers, plays = redis.call('GET', long), {}, {}, {}
  for id in string.gmatch(string.sub(redis.call('GET', tracks), 2), '[^\n]+') do
    ids[#ids + 1] = id
  end
  local kept = {}
  for place = #value - LONG_PLAYS * PLAY_BYTES + 1, #value, PLAY_BYTES do
    local when, number = struct.unpack('<c8I4', value, place)
    if not numbers[number] then
      numbers[number] = #kept
      kept[#kept + 1] = ids[number + 1]
    end
    plays[#plays + 1] = when .. struct.pack('<I4', numbers[number])
  end
  local text = string.char(LONG_VERSION) .. table.concat(kept, '\n') .. '\n'
  redis.call('SET', tracks, text)
  redis.call('UNLINK', long)
  write_header(long, watermark, #text)
  redis.call('APPEND', long, table.concat(plays))
end

-- Lets the oldest events leave `key`, so that about KEEP are left. Beyond LONG_PLAYS and an eighth, the oldest plays are dropped.
local function leave(key, long, tracks, watermark)
  local rows, plays = in_order(key, event_place), {}
  local found, crossed = fold(rows)
  local count = places_to_leave(crossed)
  for _, play in ipairs(found) do
    local is_late = watermark and not before(watermark, rows[play.first])  -- another version, which knows no watermark, stored it
    if play.first <= count and not is_late then plays[#plays + 1] = play end
  end
  if not watermark or before(watermark, rows[count]) then watermark = rows[count] end
  if watermark[1] >= 0 then
    append(long, tracks, plays, watermark)
    if redis.call('STRLEN', long) > HEADER + math.floor(LONG_PLAYS * 9 / 8) * PLAY_BYTES then compact(long, tracks, watermark) end
  end
  drop_oldest(key, rows, count)
end

return {
  before = before, event_place = event_place, opinion_place = opinion_place, trim = trim, leave = leave,
}
