-- Takes room in all buckets or in none.
-- KEYS: leases, gate, hold, buckets…  ARGV: hold, prefix of holds, gate, lease ms, node/process, count,
-- entries…
-- Answers 1 placed, 2 placed before, 0 full (and the first full bucket), 3 ended, 4 not open; then
-- used and held of each bucket.
if not is_open(KEYS[2], ARGV[3]) then
  return { 4 }
end
local now = clock()
sweep(KEYS[1], ARGV[2], now)
local entries = entries_at(7, tonumber(ARGV[6]))
-- An attempt is now, whatever the clock of its node shows; but its node is answered by that.
local ahead = {}
for place, entry in ipairs(entries) do
  if entry[COUNTS] == SPACING then
    ahead[place], entry[AMOUNT] = entry[AMOUNT] - now, now
  end
end

local function answer(code, place)
  local told = { code, place }
  for at, entry in ipairs(entries) do
    local used, held = usage(entry, now)
    told[#told + 1] = used > 0 and used + (ahead[at] or 0) or 0
    told[#told + 1] = held
  end
  return told
end

local state = redis.call('HGET', KEYS[3], 'st')
if state == 'held' then
  return answer(2, 0)
elseif state then
  return { 3 }
end
local asked = {}
for _, entry in ipairs(entries) do
  asked[entry[KEY]] = (asked[entry[KEY]] or 0) + entry[AMOUNT]
end
for place, entry in ipairs(entries) do
  local used, held = usage(entry, now)
  if not admits(entry, used, held, asked[entry[KEY]]) then
    return answer(0, place)
  end
end
local ends = now + tonumber(ARGV[4])
place(KEYS[1], ARGV[2], ARGV[1], entries, now, ends, ARGV[5])
return answer(1, 0)
