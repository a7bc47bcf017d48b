-- Add the sums of one batch to the counters of one shard, once: all of it or nothing.
--
-- KEYS[1]  the shard's guard of one partition: "I C", how far its two topics were read
-- ARGV[1]  what the guard must be now      ARGV[2]  what it becomes
-- ARGV[3]  what a counter's name begins with (its 8 bytes follow: same hash tag, same slot)
-- ARGV[4]  milliseconds to live by counter number, "0:691200000 1:..."; empty: for ever
-- ARGV[5]  panes that are kept
-- ARGV[6]  rows of 26 bytes, those of a key together: key 8, counter 1, and an entry of 17:
--          half-life's place 1, pane 4, views 6, clicks 6, little-endian
--
-- Gives 1, or the guard as it is when that is not ARGV[1]. Everything is computed before the
-- first write, so that no error can leave half of it.
local ROW, ENTRY, LIMIT, SLOT = 26, 17, 2 ^ 48 - 1, 2 ^ 32
local guard = redis.call('GET', KEYS[1]) or '0 0'
if guard ~= ARGV[1] then return guard end

local prefix, panes, rows = ARGV[3], tonumber(ARGV[5]), ARGV[6]
local unpack_entry, pack_entry, sub = struct.unpack, struct.pack, string.sub

local lives = {}
for counter, life in string.gmatch(ARGV[4], '(%d+):(%d+)') do lives[tonumber(counter)] = life end

local keys, firsts, count, last = {}, {}, 0, nil
for at = 1, #rows, ROW do
  local key = sub(rows, at, at + 7)
  if key ~= last then
    count = count + 1
    keys[count], firsts[count], last = prefix .. key, at, key
  end
end
firsts[count + 1] = #rows + 1

local states = {}
for first = 1, count, 1000 do
  local upto = math.min(first + 999, count)
  local found = redis.call('MGET', unpack(keys, first, upto))
  for i = first, upto do states[i] = found[i - first + 1] end
end

local function merged(state, from, upto)
  local slots, numbers, views, clicks, place, newest, n = {}, {}, {}, {}, {}, {}, 0
  local function add(text, at)
    local slot, number, v, c = unpack_entry('<BI4I6I6', text, at)
    local id = slot * SLOT + number
    local i = place[id]
    if i then
      views[i], clicks[i] = math.min(views[i] + v, LIMIT), math.min(clicks[i] + c, LIMIT)
      return
    end
    n = n + 1
    place[id], slots[n], numbers[n], views[n], clicks[n] = n, slot, number, v, c
    if number > (newest[slot] or -1) then newest[slot] = number end
  end
  if state then
    for at = 1, #state, ENTRY do add(state, at) end
  end
  for at = from, upto, ROW do add(rows, at + 9) end
  local kept = {}
  for i = 1, n do
    if numbers[i] > newest[slots[i]] - panes then
      kept[#kept + 1] = pack_entry('<BI4I6I6', slots[i], numbers[i], views[i], clicks[i])
    end
  end
  return table.concat(kept)
end

for i = 1, count do
  local from, upto = firsts[i], firsts[i + 1] - 1
  if not states[i] and upto - from < ROW then
    states[i] = sub(rows, from + 9, upto)
  else
    states[i] = merged(states[i], from, upto)
  end
end

for i = 1, count do
  local life = lives[string.byte(rows, firsts[i] + 8)]
  if life then
    redis.call('SET', keys[i], states[i], 'PX', life)
  else
    redis.call('SET', keys[i], states[i])
  end
end
redis.call('SET', KEYS[1], ARGV[2])
return 1
