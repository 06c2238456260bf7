-- How many calls at once can be taken, as those who take them say. The latest word counts.
-- KEYS: words  ARGV: what was said before this is forgotten, how long words are kept, then of each
--   word its concurrency and its instant, 16 digits, with the count behind it
-- Answers all words: concurrency, instant and count of each.
for i = 3, #ARGV, 2 do
  local known = redis.call('HGET', KEYS[1], ARGV[i])
  if not known or string.sub(known, 1, 16) < string.sub(ARGV[i + 1], 1, 16) then
    redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1])
  end
end
local said, kept = redis.call('HGETALL', KEYS[1]), {}
for i = 1, #said, 2 do
  if string.sub(said[i + 1], 1, 16) < ARGV[1] then
    redis.call('HDEL', KEYS[1], said[i])
  else
    kept[#kept + 1] = said[i]
    kept[#kept + 1] = said[i + 1]
  end
end
if #kept > 0 then
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
end
return kept
