-- What happened to a session.
-- KEYS: session  ARGV: head of its rest, now,
--   'use': answers 0 for the first time, 1 again, 2 for one that is not live
--   'prolong', end: it lives until then at least
--   'drop': nobody was told of it
local NEVER = string.rep('0', 16)
local known = redis.call('GETRANGE', KEYS[1], 0, 31 + #ARGV[1])
if string.sub(known, 33) ~= ARGV[1] then
  return 2
end
if ARGV[3] == 'drop' then
  return redis.call('DEL', KEYS[1])
elseif ARGV[3] == 'prolong' then
  local ends = string.sub(known, 1, 16)
  if ARGV[4] > ends then
    redis.call('SETRANGE', KEYS[1], 0, ARGV[4])
    local longer = redis.call('PTTL', KEYS[1]) + tonumber(ARGV[4]) - tonumber(ends)
    redis.call('PEXPIRE', KEYS[1], string.format('%.0f', longer))
  end
  return 1
elseif string.sub(known, 1, 16) <= ARGV[2] then
  return 2
elseif string.sub(known, 17, 32) ~= NEVER then
  return 1
end
redis.call('SETRANGE', KEYS[1], 16, ARGV[2])
return 0
