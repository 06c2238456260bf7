-- Appends what a stream does not have yet. KEYS: the stream, how far it has come. ARGV: most entries,
-- least age in milliseconds of one that is removed, then for each entry its position, id, type, media
-- type and text. Positions are texts of one length, in order. Returns how many entries were new, or -1
-- if there is no room for them.
local stream, reached = KEYS[1], KEYS[2]
local most, keep = tonumber(ARGV[1]), tonumber(ARGV[2])
local fields = 5

-- The two numbers of an entry's id.
local function parts(id)
  local time, n = string.match(id, '^(%d+)-(%d+)$')
  return tonumber(time), tonumber(n)
end

local function is_before(one, other)
  local time, n = parts(one)
  local other_time, other_n = parts(other)
  return time < other_time or (time == other_time and n < other_n)
end

-- The first entry that a group still needs, or that is too young to go; nothing if there is no group,
-- for then nobody has read anything.
local function first_needed()
  local first
  for _, group in ipairs(redis.call('XINFO', 'GROUPS', stream)) do
    local told = {}
    for n = 1, #group, 2 do
      told[group[n]] = group[n + 1]
    end
    local needed = told['last-delivered-id']
    if told['pending'] > 0 then
      needed = redis.call('XPENDING', stream, told['name'])[2]
    end
    if not first or is_before(needed, first) then
      first = needed
    end
  end
  local now = redis.call('TIME')
  local oldest = now[1] * 1000 + math.floor(now[2] / 1000) - keep
  local young = string.format('%.0f-0', math.max(oldest, 0))
  if first and is_before(young, first) then
    return young
  end
  return first
end

local function has_room(count)
  return redis.call('XLEN', stream) + count <= most
end

local has = redis.call('GET', reached) or ''
local begin = 3
while ARGV[begin] and ARGV[begin] <= has do
  begin = begin + fields
end
local count = (#ARGV - begin + 1) / fields
if count < 1 then
  return 0
end
if redis.call('EXISTS', stream) == 1 then
  local first = first_needed()
  if first then
    -- Whole blocks of entries, which is cheap; each by itself only where room is short.
    redis.call('XTRIM', stream, 'MINID', '~', first)
    if not has_room(count) then
      redis.call('XTRIM', stream, 'MINID', first)
    end
  end
  if not has_room(count) then
    return -1
  end
end
for n = begin, #ARGV, fields do
  redis.call('XADD', stream, '*', 'id', ARGV[n + 1], 'type', ARGV[n + 2],
    'content-type', ARGV[n + 3], 'event', ARGV[n + 4])
end
redis.call('SET', reached, ARGV[#ARGV - fields + 1])
return count
