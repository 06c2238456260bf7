-- A node says what it has lent, or had. Of two that have the same number it is the later one's.
-- ARGV: number, session, began ms, end ms, node
-- Answers 0 the pool does not have the number, 1 done, 2 another session has lost it, 3 another has it.
local did, sid = ARGV[FIRST], ARGV[FIRST + 1]
local began, ends = tonumber(ARGV[FIRST + 2]), tonumber(ARGV[FIRST + 3])
advance()
if not is_known(did) then
  return 0
end
local n = read(did)
if n.st == 'L' and n.sid == sid then
  if ends > n.exp then
    n.exp = ends
    enter(n)
  end
  return 1
end
if ends <= now then
  -- Another number that is set apart may be lent.
  local was_apart = n.st == 'S' and n.node == ARGV[FIRST + 4]
  if n.st == 'F' or n.st == 'Q' or was_apart then
    if not string.find(';' .. n.past, ';' .. sid .. ',', 1, true) then
      remember(n, sid, began, ends, RESTS)
    end
    if was_apart then
      redis.call('HDEL', SPARE, did)
    end
    local unused = n.st == 'Q' and n.till - RESTS or n.since or 0
    rest_from(n, math.max(ends, unused), 0)
    enter(n)
  end
  return 1
end
local had_another = n.st == 'L'
if had_another and began <= n.began then
  return 3
end
if redis.call('HEXISTS', OWNERS, sid) == 1 then
  -- It has come to another number since, and cannot have two.
  return 3
end
lose(n, now, 0)
give(n, sid, began, ends)
return had_another and 2 or 1
