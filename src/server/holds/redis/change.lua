-- What has become of holds that were granted. All of it at once.
-- KEYS: leases  ARGV: prefix of holds, node, lease ms, process, then changes:
--   C hold cause count entries…   so much has become used; once per cause
--   R hold                        what is still held is given back
--   K hold count entries…         exactly this is held from now on, whatever the limits
-- Answers per change { 1 done | 2 done before | 0 nothing to do, late, overshoots, those of credit, used,
-- held … }.
local leases, prefix, node = KEYS[1], ARGV[1], ARGV[2]
local owner = node .. '/' .. ARGV[4]
local now = clock()
local told = {}

local function add_usage(result, entries)
  for _, entry in ipairs(entries) do
    local used, held = usage(entry, now)
    result[#result + 1] = used + (entry.ahead or 0)
    result[#result + 1] = held
  end
end

local function count(hold, cause, counted)
  local key = prefix .. hold
  local state, entries = kept(key)
  if redis.call('HEXISTS', key, 'c:' .. cause) == 1 then
    return { 2, 0, 0, 0 }
  end
  local late, over, overdrawn = state ~= 'held' and state ~= 'lapsed', 0, 0
  for _, entry in ipairs(counted) do
    local left, is_credit = entry[AMOUNT], entry[COUNTS] == CREDIT
    for _, known in ipairs(entries) do
      if known[KEY] == entry[KEY] and entry[COUNTS] == SPACING then
        -- When it was by the server's clock is known.
        entry.ahead, entry[AMOUNT] = entry[AMOUNT] - known[AMOUNT], known[AMOUNT]
      end
      if known[KEY] == entry[KEY] and known[HELD] > 0 and left > 0 then
        local taken = math.min(known[HELD], left)
        known[HELD] = known[HELD] - taken
        left = left - taken
        is_credit = is_credit or known[COUNTS] == CREDIT
        if not late then
          give_back(known, taken)
        end
        if entry[LIMIT] < 0 and known[MODE] == 0 then entry[LIMIT] = known[LIMIT] end
        if entry[EXPIRES] == 0 then entry[EXPIRES] = known[EXPIRES] end
      end
    end
    use(entry, node)
    if (late or left > 0) and entry[AMOUNT] > 0 and is_over(entry, now) then
      over = over + 1
      if is_credit then overdrawn = overdrawn + 1 end
    end
  end
  keep(key, state or 'expired', entries)
  redis.call('HSET', key, 'c:' .. cause, '1')
  local result = { 1, late and 1 or 0, over, overdrawn }
  add_usage(result, counted)
  return result
end

local function release(hold)
  local key = prefix .. hold
  local state, entries = kept(key)
  local was_held = state == 'held' or state == 'lapsed'
  if was_held then
    let_go(hold, entries)
  end
  -- A hold that is not known may be on its way here: it is not to be placed any more.
  keep(key, 'ended', {})
  strike_out(leases, prefix, hold)
  return { was_held and 1 or 0, 0, 0, 0 }
end

local function hold_now(hold, entries)
  local done, over, overdrawn =
    hold_on(leases, prefix, hold, entries, now, now + tonumber(ARGV[3]), owner)
  if not done then
    return { 0, 0, 0, 0 }
  end
  local result = { 1, 0, over, overdrawn }
  add_usage(result, entries)
  return result
end

local at = 5
while at <= #ARGV do
  local what, hold = ARGV[at], ARGV[at + 1]
  if what == 'C' then
    local many = tonumber(ARGV[at + 3])
    told[#told + 1] = count(hold, ARGV[at + 2], entries_at(at + 4, many))
    at = at + 4 + many * WIDTH
  elseif what == 'K' then
    local many = tonumber(ARGV[at + 2])
    told[#told + 1] = hold_now(hold, entries_at(at + 3, many))
    at = at + 3 + many * WIDTH
  else
    told[#told + 1] = release(hold)
    at = at + 2
  end
end
return told
