-- Whether the server still knows what a node has told it, and who lives.
-- KEYS: gate, nodes  ARGV: gate that the node told behind
-- Answers the nodes whose leases last behind '1' if it does and is open, nothing if it may have been emptied.
if not is_open(KEYS[1], ARGV[1]) then
  return {}
end
local told = { '1' }
for _, node in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], '(' .. whole(clock()), '+inf')) do
  told[#told + 1] = node
end
return told
