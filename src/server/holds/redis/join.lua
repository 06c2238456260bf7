-- A node has told this server all it knows, since it was announced. Caps are open once all nodes that
-- live have.
-- KEYS: gate, nodes, joined  ARGV: node, gate it told behind, lease ms, wait ms
-- Answers 1 open, 0 not yet, 2 that gate is gone: what was told may be as well.
local now = clock()
local is_there, open, since = gate_is(KEYS[1], ARGV[2])
if not is_there then
  return 2
end
redis.call('SADD', KEYS[3], ARGV[1])
redis.call('ZADD', KEYS[2], whole(now + tonumber(ARGV[3])), ARGV[1])
if open then
  return 1
end
if now - since < tonumber(ARGV[4]) then
  return 0
end
for _, node in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], '(' .. whole(now), '+inf')) do
  if redis.call('SISMEMBER', KEYS[3], node) == 0 then
    return 0
  end
end
redis.call('HSET', KEYS[1], 'open', '1')
return 1
