-- A node is about to tell this server what it has lent. A pool that is new to the server's process is
-- closed for a while: what was lent may be forgotten here, and all who lent are to say so first.
-- ARGV: run of the server's process
-- Answers since when, and for how long already.
local gate = redis.call('HMGET', GATE, 'run', 'since')
if gate[1] ~= ARGV[FIRST] then
  gate = { ARGV[FIRST], whole(now) }
  redis.call('HSET', GATE, 'run', gate[1], 'since', gate[2])
end
return { gate[2], whole(now - tonumber(gate[2])) }
