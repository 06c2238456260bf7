-- Numbers that the pool has from now on, or has not any more. Those that come to a pool that has others
-- rest first: they may have been lent before. One that comes from another pool is as it was there.
-- ARGV: 'add', 'first' or 'drop', numbers; or 'move', of each the number and what its former pool knew of it

-- Of what is known here already nothing is earlier: it was moved before, or its node has said who has it.
local function move(did, known)
  redis.call('SADD', STOCK, did)
  local n = read(did)
  if known == '' or n.st == 'S' then
    enter(n)
    return
  end
  local there = parse(did, cjson.decode(known))
  for call, till in pairs(there.calls) do
    n.calls[call] = math.max(n.calls[call] or till, till)
  end
  there.calls = n.calls
  if n.st == 'L' then
    if there.sid == n.sid then
      n.exp, n.seen = math.max(n.exp, there.exp), math.max(n.seen, there.seen)
    end
  elseif there.st == 'L' and redis.call('HSETNX', OWNERS, there.sid, did) == 1 then
    n = there
  elseif there.st == 'L' then
    -- Its session has another number here by now.
    remember(there, there.sid, there.began, there.exp, RESTS)
    rest_from(there, there.exp, 0)
    n = there
  elseif there.st == 'S' then
    -- Who had it set apart may have lent it.
    rest_from(there, there.exp, there.hold or 0)
    n = there
  elseif there.st == 'Q' then
    there.till = math.max(there.till, n.till or 0)
    n = there
  elseif n.st == 'F' then
    n = there
  end
  enter(n)
end

local how = ARGV[FIRST]
if how == 'first' or how == 'move' then
  -- What was lent before that this server does not know.
  redis.call('HSETNX', GATE, 'first', whole(now))
end
if how == 'move' then
  for at = FIRST + 1, #ARGV, 2 do
    move(ARGV[at], ARGV[at + 1])
  end
  return 1
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
