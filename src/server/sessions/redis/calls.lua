-- Earlier calls of a caller: of each when it came, 16 digits, and the rest, by its id.
-- KEYS: calls  ARGV: how many are kept, how long, then of each call its id and what is known of it now
-- Answers how many are kept.
for i = 3, #ARGV, 2 do
  redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1])
end
local count, most = redis.call('HLEN', KEYS[1]), tonumber(ARGV[1])
if count > most then
  local all, order = redis.call('HGETALL', KEYS[1]), {}
  for i = 1, #all, 2 do
    order[#order + 1] = string.sub(all[i + 1], 1, 16) .. all[i]
  end
  table.sort(order)
  for i = 1, count - most do
    redis.call('HDEL', KEYS[1], string.sub(order[i], 17))
  end
  count = most
end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return count
