-- A cap begins anew in a window: of what each node had used nothing counts up to its level. No level falls
-- by it, so twice is once. What is held stays held.
-- KEYS: bucket, resets  ARGV: record, at ms, expires at ms (0: never), then per part: node, slice of a
-- rolling window (-: it does not roll), level
-- Resets hold of each bucket `at expires record`, and a version that grows.
local key = KEYS[1]
local raised = 0
for at = 4, #ARGV, 3 do
  local node, slice, level = ARGV[at], ARGV[at + 1], tonumber(ARGV[at + 2])
  if slice == '-' then
    local used, before = part_of(key, node)
    if level > before then
      redis.call('HSET', key, 'r:' .. node, whole(level))
      local less = beyond(used, before) - beyond(used, level)
      if less > 0 then
        redis.call('HINCRBY', key, 'used', whole(-less))
      end
      raised = raised + 1
    end
  else
    local field = 'r:' .. slice .. ':' .. node
    if level > (tonumber(redis.call('HGET', key, field) or 0) or 0) then
      redis.call('HSET', key, field, whole(level))
      raised = raised + 1
    end
  end
end
local expires = tonumber(ARGV[3])
if expires > 0 then
  redis.call('PEXPIREAT', key, whole(expires))
end
local known = redis.call('HGET', KEYS[2], key)
local is_news = not known or tonumber(string.match(known, '^(%-?%d+) ')) < tonumber(ARGV[2])
if is_news then
  redis.call('HSET', KEYS[2], key, ARGV[2] .. ' ' .. ARGV[3] .. ' ' .. ARGV[1])
end
if is_news or raised > 0 then
  redis.call('HINCRBY', KEYS[2], 'version', '1')
end
return raised
