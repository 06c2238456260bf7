-- Numbers that another pool has from now on, with whoever has them.
-- ARGV: 'look', numbers: they are lent to nobody here any more. Answers what is known of each, '' if nothing.
--   'forget', of each the number and what was answered: answers 1 it is forgotten, 0 it is not as it was.
local function known_of(did)
  local fields = redis.call('HGETALL', PREFIX .. did)
  return #fields > 0 and cjson.encode(fields) or ''
end

local function forget(did, known)
  if redis.call('SISMEMBER', STOCK, did) == 1 or known_of(did) ~= known then
    return 0
  end
  local n = read(did)
  if n.sid and redis.call('HGET', OWNERS, n.sid) == did then
    redis.call('HDEL', OWNERS, n.sid)
  end
  redis.call('HDEL', SPARE, did)
  for _, set in ipairs({ FREE, BUSY, REST, PINNED, SEEN }) do
    redis.call('ZREM', set, did)
  end
  redis.call('DEL', PREFIX .. did)
  return 1
end

local told = {}
if ARGV[FIRST] == 'look' then
  for at = FIRST + 1, #ARGV do
    local did = ARGV[at]
    redis.call('SREM', STOCK, did)
    redis.call('ZREM', FREE, did)
    redis.call('ZREM', SEEN, did)
    told[#told + 1] = known_of(did)
  end
else
  for at = FIRST + 1, #ARGV, 2 do
    told[#told + 1] = forget(ARGV[at], ARGV[at + 1])
  end
end
return told
