-- Numbers that are set apart for a node, which lends them when it cannot ask. Nobody else has them while
-- its lease lasts, nor for as long after as one may be lent.
-- ARGV: node, how many, lease ms, how long one may be lent ms, gate, open after ms
-- Answers them.
local node, want = ARGV[FIRST], tonumber(ARGV[FIRST + 1])
local lease, hold = tonumber(ARGV[FIRST + 2]), tonumber(ARGV[FIRST + 3])
advance()
local mine = {}
local apart = redis.call('HGETALL', SPARE)
for at = 1, #apart, 2 do
  if apart[at + 1] == node then
    mine[#mine + 1] = apart[at]
  end
end
while #mine > want do
  local n = read(table.remove(mine))
  lose(n, now, 0)
  free_since(n, n.since or 0)
  enter(n)
end
for _, did in ipairs(mine) do
  local n = read(did)
  n.exp, n.hold = now + lease, hold
  enter(n)
end
while #mine < want and is_open(ARGV[FIRST + 4], ARGV[FIRST + 5]) do
  local did = redis.call('ZRANGE', FREE, 0, 0)[1]
  if not did then
    break
  end
  local n = read(did)
  n.st, n.node, n.exp, n.hold = 'S', node, now + lease, hold
  redis.call('HSET', SPARE, did, node)
  enter(n)
  mine[#mine + 1] = did
end
return mine
