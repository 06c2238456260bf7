-- A node is there, and is about to tell this server all it knows. Where no gate is that was put up since
-- the server's process began, here is one: caps are closed until all nodes have told, also those that this
-- server has forgotten or never knew and that lived when the node last looked.
-- KEYS: gate, nodes, joined, processes  ARGV: node, process, run, lease ms, how long a call may last ms, nodes
-- that lived…
-- Answers since when the gate has been there. An emptied server gets another one.
local now = clock()
local ends = whole(now + tonumber(ARGV[4]))
local gate = redis.call('HMGET', KEYS[1], 'run', 'since', 'open')
local is_new = gate[1] ~= ARGV[3] or not gate[2]
if is_new then
  gate = { ARGV[3], whole(now), '0' }
  redis.call('HSET', KEYS[1], 'run', gate[1], 'open', gate[3], 'since', gate[2])
  redis.call('DEL', KEYS[3])
elseif redis.call('HGET', KEYS[4], ARGV[1]) ~= ARGV[2] then
  -- What its former process told may not be all.
  redis.call('SREM', KEYS[3], ARGV[1])
end
if gate[3] ~= '1' then
  for at = 6, #ARGV do
    -- Said again it does not begin anew: one that is gone is waited for as long as a lease.
    if is_new or not redis.call('ZSCORE', KEYS[2], ARGV[at]) then
      redis.call('ZADD', KEYS[2], ends, ARGV[at])
    end
  end
end
redis.call('HSET', KEYS[1], 'lasts', ARGV[5])
redis.call('ZADD', KEYS[2], ends, ARGV[1])
redis.call('HSET', KEYS[4], ARGV[1], ARGV[2])
return gate[2]
