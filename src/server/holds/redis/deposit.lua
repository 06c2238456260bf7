-- Deposits that are told apart by their keys, whichever node takes them.
-- KEYS: gate, claims of the node, then of one deposit: it, the bucket of all of its buyer
-- ARGV: what, node, process, then
--   claim serial gate amount forgotten-at
--                                       may the node take it? Answers { 1 } yes, { 2, used by all
--                                       nodes, amount } it was taken, { 3 } another node may be taking it, { 4 } not open
--   keep serial amount forgotten-at     the node was told that it may
--   took amount forgotten-at used       it has, and has so much of its buyer in all. Answers { used by
--                                       all nodes }
--   drop serial                         it has not, and never will; a later claim of it stays
--   know (key amount forgotten-at)…     it took these. Answers { how many were not known }
--   begin                               what its former processes claimed and did not take is anybody's
-- A deposit: st (p claimed, d taken), node, process, serial of the claim (they grow), amount.
local what, node, process = ARGV[1], ARGV[2], ARGV[3]

local function put_down(serial, amount, forgotten_at)
  redis.call('HSET', KEYS[3], 'st', 'p', 'node', node, 'process', process, 'serial', serial,
    'amount', amount)
  redis.call('PEXPIREAT', KEYS[3], forgotten_at)
  redis.call('SADD', KEYS[2], KEYS[3])
end

local function note(key, amount, forgotten_at)
  redis.call('HSET', key, 'st', 'd', 'node', node, 'process', process, 'amount', amount)
  redis.call('PEXPIREAT', key, forgotten_at)
  redis.call('SREM', KEYS[2], key)
end

local function is_claimed(key)
  local known = redis.call('HMGET', key, 'st', 'node')
  return known[1] == 'p' and known[2] == node
end

if what == 'claim' then
  if not is_open(KEYS[1], ARGV[5]) then
    return { 4 }
  end
  local known = redis.call('HMGET', KEYS[3], 'st', 'node', 'amount', 'process', 'serial')
  if known[1] == 'd' then
    return { 2, tonumber(redis.call('HGET', KEYS[4], 'used') or 0) or 0, tonumber(known[3]) }
  elseif known[1] and known[2] ~= node then
    return { 3 }
  elseif known[4] == process and tonumber(known[5]) > tonumber(ARGV[4]) then
    -- It was on its way for so long that it has been claimed again.
    return { 3 }
  end
  put_down(ARGV[4], ARGV[6], ARGV[7])
  return { 1 }
elseif what == 'keep' then
  local known = redis.call('HMGET', KEYS[3], 'st', 'node')
  if known[1] ~= 'd' and (not known[1] or known[2] == node) then
    put_down(ARGV[4], ARGV[5], ARGV[6])
  end
  return { 1 }
elseif what == 'took' then
  note(KEYS[3], ARGV[4], ARGV[5])
  local more = tonumber(ARGV[6]) - (tonumber(redis.call('HGET', KEYS[4], 'u:' .. node) or 0) or 0)
  if more > 0 then
    redis.call('HINCRBY', KEYS[4], 'u:' .. node, whole(more))
    redis.call('HINCRBY', KEYS[4], 'used', whole(more))
    note_change(KEYS[4])
  end
  return { tonumber(redis.call('HGET', KEYS[4], 'used') or 0) or 0 }
elseif what == 'drop' then
  local known = redis.call('HMGET', KEYS[3], 'process', 'serial')
  if is_claimed(KEYS[3]) and known[1] == process and known[2] == ARGV[4] then
    redis.call('DEL', KEYS[3])
    redis.call('SREM', KEYS[2], KEYS[3])
  end
  return { 1 }
elseif what == 'know' then
  local new = 0
  for at = 4, #ARGV, 3 do
    if redis.call('HGET', ARGV[at], 'st') ~= 'd' then
      note(ARGV[at], ARGV[at + 1], ARGV[at + 2])
      new = new + 1
    end
  end
  return { new }
end
for _, key in ipairs(redis.call('SMEMBERS', KEYS[2])) do
  if redis.call('HGET', key, 'process') ~= process then
    if is_claimed(key) then
      redis.call('DEL', key)
    end
    redis.call('SREM', KEYS[2], key)
  end
end
return { 1 }
