-- A node has told this server all it knows. Caps are open once all nodes that live have.
-- KEYS: gate, nodes, joined, processes  ARGV: node, process, run, lease ms, wait ms
-- Answers 1 open, 0 not yet.
local now = clock()
local gate = redis.call('HMGET', KEYS[1], 'run', 'open', 'since')
if gate[1] ~= ARGV[3] then
  redis.call('HSET', KEYS[1], 'run', ARGV[3], 'open', '0', 'since', whole(now))
  redis.call('DEL', KEYS[3])
  gate = { ARGV[3], '0', whole(now) }
end
redis.call('SADD', KEYS[3], ARGV[1])
redis.call('ZADD', KEYS[2], whole(now + tonumber(ARGV[4])), ARGV[1])
redis.call('HSET', KEYS[4], ARGV[1], ARGV[2])
if gate[2] == '1' then
  return 1
end
if now - tonumber(gate[3]) < tonumber(ARGV[5]) then
  return 0
end
for _, node in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], '(' .. whole(now), '+inf')) do
  if redis.call('SISMEMBER', KEYS[3], node) == 0 then
    return 0
  end
end
redis.call('HSET', KEYS[1], 'open', '1')
return 1
