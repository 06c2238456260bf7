-- Whether this server has lost what it had: then its gate is gone, or of another process, and is put there anew.
-- KEYS: gate  ARGV: run of the server's process
-- Answers the gate, and for how long it has been there, ms.
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local gate = redis.call('HGET', KEYS[1], 'gate')
local run, since = string.match(gate or '', '^(.*)/(%d+)$')
if run ~= ARGV[1] then
  since = string.format('%.0f', now)
  gate = ARGV[1] .. '/' .. since
  redis.call('HSET', KEYS[1], 'gate', gate)
end
return { gate, string.format('%.0f', math.max(now - tonumber(since), 0)) }
