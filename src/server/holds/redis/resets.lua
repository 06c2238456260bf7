-- Which caps began anew, unless the node knows.
-- KEYS: resets  ARGV: version that the node knows
-- Answers { { version } } or { { version }, then of each cap { record, name of a part, level, … } }.
local version = redis.call('HGET', KEYS[1], 'version') or '0'
local told = { { version } }
if version == ARGV[1] then
  return told
end
local now = clock()
local fields = redis.call('HGETALL', KEYS[1])
for at = 1, #fields, 2 do
  local key = fields[at]
  if key ~= 'version' then
    local expires, record = string.match(fields[at + 1], '^%-?%d+ (%d+) (.*)$')
    if tonumber(expires) > 0 and tonumber(expires) < now then
      redis.call('HDEL', KEYS[1], key)
    else
      local one = { record }
      local parts = redis.call('HGETALL', key)
      for place = 1, #parts, 2 do
        if string.sub(parts[place], 1, 2) == 'r:' then
          one[#one + 1] = string.sub(parts[place], 3)
          one[#one + 1] = parts[place + 1]
        end
      end
      told[#told + 1] = one
    end
  end
end
return told
