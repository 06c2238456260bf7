-- Buckets that nodes have used something of since, and what each of them has.
-- KEYS: gate, changed buckets  ARGV: gate that the node told behind, serial of the last change it knows, how
-- many at most, then buckets whose windows are over: nobody need look at them again
-- Answers nothing if the server may have been emptied, else { serial of the last told, how many were looked
-- at }, then of each bucket { key, expires at ms (0: never), node, kind as in restore.lua, used … }.
if not is_open(KEYS[1], ARGV[1]) then
  return {}
end
for at = 4, #ARGV do
  redis.call('ZREM', KEYS[2], ARGV[at])
end
local found =
  redis.call('ZRANGEBYSCORE', KEYS[2], '(' .. ARGV[2], '+inf', 'WITHSCORES', 'LIMIT', 0, ARGV[3])
local told = { { found[#found] or ARGV[2], whole(#found / 2) } }
for at = 1, #found, 2 do
  local key = found[at]
  local fields, lasts = redis.call('HGETALL', key), redis.call('PTTL', key)
  local one = { key, lasts > 0 and whole(clock() + lasts) or '0' }
  local is_spacing = string.sub(key, 1, 4) == 'gap:'
  for place = 1, #fields, 2 do
    local slice, of_slice = string.match(fields[place], '^s:(%-?%d+):(.*)$')
    local of_window = string.match(fields[place], '^u:(.*)$')
    if is_spacing and fields[place] == 'used' then
      one[#one + 1], one[#one + 2] = '', 'g'
    elseif slice then
      one[#one + 1], one[#one + 2] = of_slice, slice
    elseif of_window then
      one[#one + 1], one[#one + 2] = of_window, 'u'
    end
    if #one % 3 == 1 then
      one[#one + 1] = fields[place + 1]
    end
  end
  if #fields == 0 then
    redis.call('ZREM', KEYS[2], key)
  else
    told[#told + 1] = one
  end
end
return told
