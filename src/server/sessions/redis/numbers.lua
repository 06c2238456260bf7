-- What the scripts of a pool share. A number is free (F), lent to a session (L), set apart for a node
-- (S), or rests (Q). It is in one of the sets free, busy, rest and pinned: pinned while calls are on it,
-- else by its state. The set has it by when something about it is due, but free by since when it is
-- unused.
-- KEYS: gate, free, busy, rest, pinned, seen, owners, spare, stock, asked
-- ARGV: prefix of numbers' keys, now or '' for the server's own time, quarantine ms, taken after ms or
--       -1, what follows is each script's own
local GATE, FREE, BUSY, REST, PINNED = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local SEEN, OWNERS, SPARE, STOCK, ASKED = KEYS[6], KEYS[7], KEYS[8], KEYS[9], KEYS[10]
local PREFIX, RESTS, TAKEN_AFTER = ARGV[1], tonumber(ARGV[3]), tonumber(ARGV[4])
local FIRST = 5
local PAST_MAX, ADVANCED_MAX, HOUR_MS = 8, 64, 3600000

local now = tonumber(ARGV[2])
if not now then
  local time = redis.call('TIME')
  now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end

local function whole(number)
  return string.format('%.0f', number)
end

local function is_open(gate, open_after)
  local is = redis.call('HMGET', GATE, 'run', 'since')
  return is[1] and is[1] .. '/' .. is[2] == gate and now - tonumber(is[2]) >= tonumber(open_after)
end

local function is_known(did)
  return redis.call('SISMEMBER', STOCK, did) == 1 or redis.call('EXISTS', PREFIX .. did) == 1
end

local NUMBERS = { began = 1, seen = 1, exp = 1, since = 1, till = 1, hold = 1, kept = 1 }

-- Until when the last of its calls is known to be on the number.
local function pinned_until(n)
  local last
  for _, till in pairs(n.calls) do
    last = math.max(last or till, till)
  end
  return last
end

local function parse(did, fields)
  local n = { did = did, st = 'F', since = 0, past = '', calls = {} }
  for at = 1, #fields, 2 do
    local name, value = fields[at], fields[at + 1]
    if string.sub(name, 1, 2) == 'p:' then
      n.calls[string.sub(name, 3)] = tonumber(value)
    elseif NUMBERS[name] then
      n[name] = tonumber(value)
    else
      n[name] = value
    end
  end
  return n
end

local function read(did)
  local fields = redis.call('HGETALL', PREFIX .. did)
  local n = parse(did, fields)
  if #fields == 0 then
    n.since = tonumber(redis.call('ZSCORE', FREE, did) or 0)
  end
  return n
end

-- The only place where a number changes its state, and everything that finds it by that.
local function enter(n)
  for _, set in ipairs({ FREE, BUSY, REST, PINNED, SEEN }) do
    redis.call('ZREM', set, n.did)
  end
  redis.call('DEL', PREFIX .. n.did)
  local pinned = pinned_until(n)
  if n.st == 'F' and not pinned and redis.call('SISMEMBER', STOCK, n.did) == 0 then
    return
  end
  local fields = { 'st', n.st, 'past', n.past }
  for name, value in pairs(n) do
    if NUMBERS[name] then
      fields[#fields + 1] = name
      fields[#fields + 1] = whole(value)
    end
  end
  for _, name in ipairs({ 'sid', 'node' }) do
    if n[name] then
      fields[#fields + 1] = name
      fields[#fields + 1] = n[name]
    end
  end
  for call, till in pairs(n.calls) do
    fields[#fields + 1] = 'p:' .. call
    fields[#fields + 1] = whole(till)
  end
  redis.call('HSET', PREFIX .. n.did, unpack(fields))
  if pinned then
    redis.call('ZADD', PINNED, whole(pinned), n.did)
  elseif n.st == 'L' then
    redis.call('ZADD', BUSY, whole(n.exp), n.did)
    if TAKEN_AFTER >= 0 then
      redis.call('ZADD', SEEN, whole(n.seen), n.did)
    end
  elseif n.st == 'S' then
    redis.call('ZADD', BUSY, whole(n.exp), n.did)
  elseif n.st == 'Q' then
    redis.call('ZADD', REST, whole(n.till), n.did)
  else
    redis.call('ZADD', FREE, whole(n.since), n.did)
  end
end

-- Remembers the lease, which is over.
local function remember(n, sid, began, ended, rests)
  local past = n.past .. sid .. ',' .. whole(began) .. ',' .. whole(ended) .. ','
    .. whole(ended + rests) .. ';'
  local _, count = string.gsub(past, ';', ';')
  if count > PAST_MAX then
    past = string.gsub(past, '^[^;]*;', '', 1)
  end
  n.past = past
end

local function rest_from(n, since, hold)
  n.sid, n.began, n.seen, n.exp, n.hold, n.node, n.kept = nil, nil, nil, nil, nil, nil, nil
  n.st, n.till = 'Q', since + hold + RESTS
end

local function free_since(n, since)
  n.sid, n.began, n.seen, n.exp, n.till, n.kept = nil, nil, nil, nil, nil, nil
  n.st, n.since, n.hold, n.node = 'F', since, nil, nil
end

-- The lease of the number, if it has one, is over.
local function lose(n, at, rests)
  if n.st == 'L' then
    redis.call('HDEL', OWNERS, n.sid)
    remember(n, n.sid, n.began, at, rests)
  elseif n.st == 'S' then
    redis.call('HDEL', SPARE, n.did)
  end
end

local function give(n, sid, began, ends)
  n.st, n.sid, n.began, n.seen, n.exp = 'L', sid, began, now, ends
  n.till, n.hold, n.node, n.kept = nil, nil, nil, nil
  redis.call('HSET', OWNERS, sid, n.did)
  enter(n)
end

local function due(set)
  return redis.call('ZRANGEBYSCORE', set, '-inf', whole(now), 'LIMIT', 0, 1)[1]
end

-- Moves on numbers whose lease, rest or calls are over.
local function advance()
  for _ = 1, ADVANCED_MAX do
    local did = due(PINNED)
    local n = did and read(did)
    if n then
      -- Who had the call is gone.
      local ended = pinned_until(n)
      n.calls = {}
      if n.st == 'L' then
        n.exp = math.max(n.exp, ended)
      elseif n.st == 'F' then
        n.since = ended
      end
      enter(n)
    else
      did = due(REST)
      n = did and read(did)
      if n then
        free_since(n, n.till - RESTS)
        enter(n)
      else
        did = due(BUSY)
        if not did then
          return
        end
        n = read(did)
        local ended = n.exp
        lose(n, ended, RESTS)
        -- One that was set apart may be lent: who did could not say so.
        rest_from(n, ended, n.st == 'S' and n.hold or 0)
        enter(n)
      end
    end
  end
end
