-- What the scripts share. An entry is what a hold has in one bucket:
--   key, counts, amount, held, limit, expires at ms, mode, by now, rate ppm, z milli, slice, first
-- limit: -1 none. mode: 0 strict, 1 soft, 2 paced. slice, first: of a rolling window the slice that
-- events are used in and the first one that counts; -1: it is none.
local LIVE, TALKING, SPACING, CREDIT = 0, 7, 8, 11
local KEY, COUNTS, AMOUNT, HELD, LIMIT, EXPIRES = 1, 2, 3, 4, 5, 6
local MODE, BY_NOW, RATE, Z, SLICE, FIRST = 7, 8, 9, 10, 11, 12
local WIDTH = 12
local MILLION = 1000000
-- See `pace.rs`.
local ROOM_MAX = 100

local function clock()
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end

local function whole(number)
  return string.format('%.0f', number)
end

local function entries_at(first, count)
  local entries = {}
  for place = 1, count do
    local at = first + (place - 1) * WIDTH
    local entry = { ARGV[at] }
    for field = 2, WIDTH do
      entry[field] = tonumber(ARGV[at + field - 1])
    end
    entries[place] = entry
  end
  return entries
end

-- Concurrency is a set of leases; all else is a hash.
local function is_set(entry)
  return entry[COUNTS] == LIVE or entry[COUNTS] == TALKING
end

-- The first slice that counts by the server's clock, as `rolling.rs` has it: a node whose clock is ahead
-- is not to forget what counts for others.
local function first_by_server(key)
  local window_ms = tonumber(string.match(key, ':rolling:(%d+)$')) * 1000
  local slice_ms = math.max(math.ceil(window_ms / 60), 1000)
  return math.floor(clock() / slice_ms) - math.ceil(window_ms / slice_ms)
end

-- Of a rolling window the fields `s:SLICE:NODE` hold what is used, of any other `u:NODE`. Up to the level
-- in `r:SLICE:NODE` or `r:NODE` nothing of it counts; `used` is what does.
local function slice_of(field)
  return tonumber(string.match(field, '^s:(%-?%d+):'))
end

local function beyond(used, level)
  return math.max(used - level, 0)
end

-- Nodes look what others have used (changed.lua): buckets by the serials of their latest changes.
local function note_change(key)
  local log = 'changed:' .. string.match(key, '%b{}') .. ':'
  redis.call('ZADD', log .. 'buckets', redis.call('INCR', log .. 'serial'), key)
end

-- What a node has used of a window that does not roll, and its level.
local function part_of(key, node)
  local known = redis.call('HMGET', key, 'u:' .. node, 'r:' .. node)
  return tonumber(known[1] or 0) or 0, tonumber(known[2] or 0) or 0
end

local function add_to_part(key, node, amount)
  local used, level = part_of(key, node)
  redis.call('HINCRBY', key, 'u:' .. node, whole(amount))
  note_change(key)
  local more = beyond(used + amount, level) - beyond(used, level)
  if more ~= 0 then
    redis.call('HINCRBY', key, 'used', whole(more))
  end
  -- What is taken back had not counted: what comes next does.
  if amount < 0 and level > 0 and used + amount < level then
    redis.call('HSET', key, 'r:' .. node, whole(math.max(used + amount, 0)))
  end
end

local function usage(entry, now)
  if is_set(entry) then
    return 0, redis.call('ZCOUNT', entry[KEY], '(' .. whole(now), '+inf')
  end
  if entry[FIRST] < 0 then
    local known = redis.call('HMGET', entry[KEY], 'used', 'held')
    return tonumber(known[1] or 0) or 0, tonumber(known[2] or 0) or 0
  end
  local used, held, parts, levels = 0, 0, {}, {}
  local fields = redis.call('HGETALL', entry[KEY])
  for at = 1, #fields, 2 do
    local slice = slice_of(fields[at])
    if slice and slice >= entry[FIRST] then
      used = used + tonumber(fields[at + 1])
      parts[string.sub(fields[at], 3)] = tonumber(fields[at + 1])
    elseif string.sub(fields[at], 1, 2) == 'r:' then
      levels[string.sub(fields[at], 3)] = tonumber(fields[at + 1])
    elseif fields[at] == 'held' then
      held = tonumber(fields[at + 1])
    end
  end
  for part, level in pairs(levels) do
    used = used - math.min(parts[part] or 0, level)
  end
  return used, held
end

-- Whether there is room for one that asks for so much.
local function admits(entry, used, held, asked)
  if entry[COUNTS] == SPACING then
    return used == 0 or math.abs(entry[AMOUNT] - used) >= entry[LIMIT]
  elseif entry[MODE] == 1 then
    return used < entry[LIMIT]
  elseif entry[MODE] == 2 then
    local calls, rate = held + asked, entry[RATE]
    local most = math.min(entry[LIMIT], entry[BY_NOW])
    if rate == MILLION then
      return used + calls <= most
    end
    local room = math.max(most - used, 0)
    if calls <= room then
      return true
    end
    local sure = math.min(calls, math.max(room - ROOM_MAX, 0))
    local open = calls - sure
    local root = math.ceil(math.sqrt(open * rate * (MILLION - rate)))
    return (used + sure) * MILLION + open * rate + math.ceil(entry[Z] * root / 1000) <= most * MILLION
  end
  return used + held + asked <= entry[LIMIT]
end

local function is_over(entry, now)
  if entry[LIMIT] < 0 or entry[MODE] ~= 0 or entry[COUNTS] == SPACING then
    return false
  end
  local used, held = usage(entry, now)
  return used + held > entry[LIMIT]
end

-- A bucket is forgotten some time after its window; without an end, never.
local function touch(entry)
  if entry[EXPIRES] > 0 then
    redis.call('PEXPIREAT', entry[KEY], whole(entry[EXPIRES]))
  end
end

-- Spacing: when the last attempt was, by the server's clock. One that is told of by the clock of its node
-- was not later than now.
local function attempt_at(entry)
  local last = tonumber(redis.call('HGET', entry[KEY], 'used') or 0) or 0
  local at = math.min(entry[AMOUNT], clock())
  redis.call('HSET', entry[KEY], 'used', whole(math.max(last, at)))
  note_change(entry[KEY])
  touch(entry)
end

local function hold_up(hold, entries, now, ends)
  for _, entry in ipairs(entries) do
    if is_set(entry) then
      redis.call('ZREMRANGEBYSCORE', entry[KEY], '-inf', whole(now))
      redis.call('ZADD', entry[KEY], whole(ends), hold)
    elseif entry[COUNTS] == SPACING then
      attempt_at(entry)
    elseif entry[HELD] > 0 then
      redis.call('HINCRBY', entry[KEY], 'held', whole(entry[HELD]))
      touch(entry)
    end
  end
end

-- Never below zero, and a bucket that is forgotten stays so.
local function give_back(entry, amount)
  local held = tonumber(redis.call('HGET', entry[KEY], 'held') or 0) or 0
  if held > 0 and amount > 0 then
    redis.call('HINCRBY', entry[KEY], 'held', whole(-math.min(held, amount)))
  end
end

local function let_go(hold, entries)
  for _, entry in ipairs(entries) do
    if is_set(entry) then
      redis.call('ZREM', entry[KEY], hold)
    else
      give_back(entry, entry[HELD])
    end
  end
end

local function use(entry, node)
  if entry[COUNTS] == SPACING then
    return attempt_at(entry)
  end
  if entry[FIRST] < 0 then
    add_to_part(entry[KEY], node, entry[AMOUNT])
  else
    local part = whole(entry[SLICE]) .. ':' .. node
    local used = redis.call('HINCRBY', entry[KEY], 's:' .. part, whole(entry[AMOUNT]))
    note_change(entry[KEY])
    local level = entry[AMOUNT] < 0 and redis.call('HGET', entry[KEY], 'r:' .. part)
    if level and tonumber(level) > used then
      redis.call('HSET', entry[KEY], 'r:' .. part, whole(math.max(used, 0)))
    end
    local first = math.min(entry[FIRST], first_by_server(entry[KEY]))
    for _, field in ipairs(redis.call('HKEYS', entry[KEY])) do
      local slice = tonumber(string.match(field, '^[sr]:(%-?%d+):'))
      if slice and slice < first then
        redis.call('HDEL', entry[KEY], field)
      end
    end
  end
  touch(entry)
end

local function kept(key)
  local state = redis.call('HMGET', key, 'st', 'b')
  return state[1], state[2] and cmsgpack.unpack(state[2]) or {}
end

local REMEMBERED_MS = 86400000

-- `owner` is NODE/PROCESS; without one it stays whose it was.
local function keep(key, state, entries, owner)
  redis.call('HSET', key, 'st', state, 'b', cmsgpack.pack(entries))
  if owner then
    redis.call('HSET', key, 'p', owner)
  end
  -- One that lapsed stays for as long as it holds something.
  if state ~= 'lapsed' then
    redis.call('PEXPIRE', key, REMEMBERED_MS)
  end
end

-- `prefix` is of holds, such as `hold:{t42}:`; this is another key of theirs.
local function beside(prefix, kind, name)
  return kind .. string.sub(prefix, 5) .. name
end

-- Holds whose leases are over, and that hold something all the same.
local function lapsed_of(prefix)
  return beside(prefix, 'exp', 'lapsed')
end

-- The holds of all processes of a node. `owner` is NODE/PROCESS.
local function list_of(prefix, owner)
  return beside(prefix, 'own', string.match(owner, '^(.*)/'))
end

-- A hold is placed, with a lease.
local function place(leases, prefix, hold, entries, now, ends, owner)
  hold_up(hold, entries, now, ends)
  keep(prefix .. hold, 'held', entries, owner)
  redis.call('ZADD', leases, whole(ends), hold)
  redis.call('ZREM', lapsed_of(prefix), hold)
  redis.call('SADD', list_of(prefix, owner), hold)
end

-- A hold is nobody's any more.
local function strike_out(leases, prefix, hold)
  redis.call('ZREM', leases, hold)
  redis.call('ZREM', lapsed_of(prefix), hold)
  local owner = redis.call('HGET', prefix .. hold, 'p')
  if owner then
    redis.call('SREM', list_of(prefix, owner), hold)
  end
end

-- Exactly this is held from now on, whatever the limits. Returns whether, how many are passed, and how many
-- of these are credit.
local function hold_on(leases, prefix, hold, entries, now, ends, owner)
  local key = prefix .. hold
  local state, before = kept(key)
  if state == 'ended' then
    return false, 0, 0
  end
  if state == 'held' or state == 'lapsed' then
    let_go(hold, before)
  end
  place(leases, prefix, hold, entries, now, ends, owner)
  local over, overdrawn = 0, 0
  for _, entry in ipairs(entries) do
    -- Of one that lapsed only its place among live calls was free.
    local was_held = state == 'held' or state == 'lapsed' and not is_set(entry)
    if not was_held and is_over(entry, now) then
      over = over + 1
      if entry[COUNTS] == CREDIT then overdrawn = overdrawn + 1 end
    end
  end
  return true, over, overdrawn
end

-- Nobody answers for a hold any more.
local function expire(leases, prefix, hold)
  local state, entries = kept(prefix .. hold)
  if state == 'held' or state == 'lapsed' then
    let_go(hold, entries)
    redis.call('HSET', prefix .. hold, 'st', 'expired')
  end
  strike_out(leases, prefix, hold)
end

-- The lease of a hold is over: its place among live calls is free. What it has of other limits its call may
-- come to yet, wherever its node is. That stays held until the node says, or for as long as a call may last.
local function lapse(leases, prefix, hold, now)
  local state, entries = kept(prefix .. hold)
  local lasts = tonumber(redis.call('HGET', beside(prefix, 'gate', 'caps'), 'lasts') or 0) or 0
  local counts_yet = false
  for _, entry in ipairs(entries) do
    counts_yet = counts_yet or entry[HELD] > 0 and not is_set(entry)
  end
  if state ~= 'held' or lasts == 0 or not counts_yet then
    return expire(leases, prefix, hold)
  end
  for _, entry in ipairs(entries) do
    if is_set(entry) then
      redis.call('ZREM', entry[KEY], hold)
    end
  end
  redis.call('HSET', prefix .. hold, 'st', 'lapsed')
  redis.call('PEXPIRE', prefix .. hold, whole(lasts + REMEMBERED_MS))
  redis.call('ZADD', lapsed_of(prefix), whole(now + lasts), hold)
  redis.call('ZREM', leases, hold)
end

-- Ends a few holds whose time is over. Returns how many.
local function sweep(leases, prefix, now)
  local over = redis.call('ZRANGEBYSCORE', leases, '-inf', whole(now), 'LIMIT', 0, 16)
  for _, hold in ipairs(over) do
    lapse(leases, prefix, hold, now)
  end
  local gone = redis.call('ZRANGEBYSCORE', lapsed_of(prefix), '-inf', whole(now), 'LIMIT', 0, 16)
  for _, hold in ipairs(gone) do
    expire(leases, prefix, hold)
  end
  return math.max(#over, #gone)
end

-- Whether the gate is the one that nodes know as RUN/SINCE, whether it is open, and since when it is there.
local function gate_is(key, name)
  local gate = redis.call('HMGET', key, 'run', 'since', 'open')
  local is_it = gate[1] and gate[2] and gate[1] .. '/' .. gate[2] == name
  return is_it, gate[3] == '1', tonumber(gate[2] or 0)
end

local function is_open(key, name)
  local is_it, open = gate_is(key, name)
  return is_it and open
end

-- See restore.lua; `first` is the place of the first bucket.
local function raise_used(node, first)
  local raised = 0
  for at = first, #ARGV, 4 do
    local key, kind, knows, expires = ARGV[at], ARGV[at + 1], tonumber(ARGV[at + 2]), tonumber(ARGV[at + 3])
    local field = 'used'
    if kind == 'u' then
      field = 'u:' .. node
    elseif kind ~= 'g' then
      field = 's:' .. kind .. ':' .. node
    end
    if kind == 'g' then
      knows = math.min(knows, clock())
    end
    local has = tonumber(redis.call('HGET', key, field) or 0) or 0
    -- A node remembers slices for longer than they count.
    local counts = kind == 'u' or kind == 'g' or tonumber(kind) >= first_by_server(key)
    if knows > has and counts then
      if kind == 'u' then
        add_to_part(key, node, knows - has)
      else
        redis.call('HINCRBY', key, field, whole(knows - has))
        note_change(key)
      end
      raised = raised + 1
      if expires > 0 then
        redis.call('PEXPIREAT', key, whole(expires))
      elseif expires < 0 and redis.call('PTTL', key) < 0 then
        redis.call('PEXPIRE', key, whole(-expires))
      end
    end
  end
  return raised
end
