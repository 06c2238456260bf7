-- What a pool was asked for: takes a node's day, and answers that of all others.
-- ARGV: node, its hours as text
-- Answers { name, value … }: of a node its hours, of free/HOUR the fewest numbers that were free in it.
local node, hours = ARGV[FIRST], ARGV[FIRST + 1]
local this = math.floor(now / HOUR_MS)
-- An hour is looked at for a day; a day's text begins with its newest.
local function is_old(name, value)
  local hour = tonumber(string.match(name, '^free/(%d+)$') or string.match(value, '^%d+'))
  return not hour or this - hour >= 24
end
local mine = 'node/' .. node
if hours == '' then
  redis.call('HDEL', ASKED, mine)
elseif redis.call('HGET', ASKED, mine) ~= hours then
  redis.call('HSET', ASKED, mine, hours)
end
local told = {}
local all = redis.call('HGETALL', ASKED)
for at = 1, #all, 2 do
  local name, value = all[at], all[at + 1]
  if is_old(name, value) then
    redis.call('HDEL', ASKED, name)
  elseif name ~= mine then
    told[#told + 1] = name
    told[#told + 1] = value
  end
end
return told
