-- Lends a number to a session, or prolongs or shortens the lease it has, which lasts for a time behind a call
-- all the same.
-- ARGV: session, ttl ms, gate, open after ms, '1' to lend none it does not have
-- Answers {1, number, end} lent, {0} none is left, {2} the pool is not open, and what it has lent not known.

-- The fewest that were free in this hour, behind the one that is lent now.
local function note_free()
  local field = 'free/' .. whole(math.floor(now / HOUR_MS))
  local left = math.max(redis.call('ZCARD', FREE) - 1, 0)
  local fewest = redis.call('HGET', ASKED, field)
  if not fewest or left < tonumber(fewest) then
    redis.call('HSET', ASKED, field, left)
  end
end

local sid, ttl = ARGV[FIRST], tonumber(ARGV[FIRST + 1])
advance()
local did = redis.call('HGET', OWNERS, sid)
if did then
  local n = read(did)
  n.seen, n.exp = now, math.max(now + ttl, n.kept or 0)
  enter(n)
  return { 1, did, whole(n.exp) }
end
if ARGV[FIRST + 4] == '1' then
  return { 0 }
end
if not is_open(ARGV[FIRST + 2], ARGV[FIRST + 3]) then
  return { 2 }
end
did = redis.call('ZRANGE', FREE, 0, 0)[1]
local n = did and read(did)
if not n and TAKEN_AFTER >= 0 then
  local idle = redis.call('ZRANGE', SEEN, 0, 0, 'WITHSCORES')
  if idle[1] and tonumber(idle[2]) + TAKEN_AFTER <= now then
    n = read(idle[1])
    lose(n, now, 0)
  end
end
note_free()
if not n then
  return { 0 }
end
give(n, sid, now, now + ttl)
return { 1, n.did, whole(n.exp) }
