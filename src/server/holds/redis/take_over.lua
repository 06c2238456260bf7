-- A process begins where a former one of its node died. In one step, so that nothing counts twice and nobody
-- gets room in between: what calls that were left up hold is its from now on, all else that the former ones
-- held is given back, and what they had used by the journal is used.
-- KEYS: leases  ARGV: prefix of holds, node, process, lease ms, holds that go on, then of each
-- hold count entries…, then buckets as in restore.lua.
-- Answers how many buckets had less used, how many are over their limit by a hold that goes on, and how many
-- of these are credit.
local leases, prefix, node = KEYS[1], ARGV[1], ARGV[2]
local owner = node .. '/' .. ARGV[3]
local now = clock()
local ends = now + tonumber(ARGV[4])
local at, over, overdrawn = 6, 0, 0
for _ = 1, tonumber(ARGV[5]) do
  local many = tonumber(ARGV[at + 1])
  local _, passed, of_credit = hold_on(leases, prefix, ARGV[at], entries_at(at + 2, many), now, ends, owner)
  over = over + passed
  overdrawn = overdrawn + of_credit
  at = at + 2 + many * WIDTH
end
local list = list_of(prefix, owner)
for _, hold in ipairs(redis.call('SMEMBERS', list)) do
  if redis.call('HGET', prefix .. hold, 'p') ~= owner then
    expire(leases, prefix, hold)
    redis.call('SREM', list, hold)
  end
end
return { raise_used(node, at), over, overdrawn }
