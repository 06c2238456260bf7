-- Numbers that the pool has from now on, or has not any more. Those that come to a pool that has others
-- rest first: they may have been lent before.
-- ARGV: 'add', 'first' or 'drop', numbers
local how = ARGV[FIRST]
if how == 'first' then
  -- What was lent before that this server does not know.
  redis.call('HSETNX', GATE, 'first', whole(now))
end
for at = FIRST + 1, #ARGV do
  local did = ARGV[at]
  local was_known = is_known(did)
  if how == 'drop' then
    redis.call('SREM', STOCK, did)
    enter(read(did))
  else
    redis.call('SADD', STOCK, did)
    if not was_known then
      local n = read(did)
      if how == 'add' then
        rest_from(n, now, 0)
      end
      enter(n)
    end
  end
end
return 1
