-- A node is there, and is about to tell this server all it knows. Where no gate is that was put up since
-- the server's process began, here is one: caps are closed until all nodes have told.
-- KEYS: gate, nodes, joined, processes  ARGV: node, process, run, lease ms
-- Answers since when the gate has been there. An emptied server gets another one.
local now = clock()
local gate = redis.call('HMGET', KEYS[1], 'run', 'since')
if gate[1] ~= ARGV[3] or not gate[2] then
  gate = { ARGV[3], whole(now) }
  redis.call('HSET', KEYS[1], 'run', gate[1], 'open', '0', 'since', gate[2])
  redis.call('DEL', KEYS[3])
elseif redis.call('HGET', KEYS[4], ARGV[1]) ~= ARGV[2] then
  -- What its former process told may not be all.
  redis.call('SREM', KEYS[3], ARGV[1])
end
redis.call('ZADD', KEYS[2], whole(now + tonumber(ARGV[4])), ARGV[1])
redis.call('HSET', KEYS[4], ARGV[1], ARGV[2])
return gate[2]
