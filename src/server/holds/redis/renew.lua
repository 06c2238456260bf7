-- Prolongs the leases of a node's holds, and the node's own.
-- KEYS: leases, nodes, processes  ARGV: prefix of holds, node, process, lease ms, holds…
-- Answers { 1 if another process is this node, places of holds whose leases were over … }.
local now = clock()
local ends = whole(now + tonumber(ARGV[4]))
for _ = 1, 32 do
  if sweep(KEYS[1], ARGV[1], now) < 16 then break end
end
local process = redis.call('HGET', KEYS[3], ARGV[2])
redis.call('ZADD', KEYS[2], ends, ARGV[2])
local told = { (process and process ~= ARGV[3]) and 1 or 0 }
for at = 5, #ARGV do
  local hold = ARGV[at]
  local state, entries = kept(ARGV[1] .. hold)
  if state == 'held' then
    redis.call('ZADD', KEYS[1], ends, hold)
    redis.call('PEXPIRE', ARGV[1] .. hold, REMEMBERED_MS)
    for _, entry in ipairs(entries) do
      if is_set(entry) then
        redis.call('ZADD', entry[KEY], ends, hold)
      end
    end
  elseif state ~= 'ended' then
    told[#told + 1] = at - 4
  end
end
return told
