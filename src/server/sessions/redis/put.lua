-- What is known of a session: when it ends and when it was first used, 16 digits each, and the rest.
-- KEYS: session  ARGV: head of its rest, end, used, rest, now, outlives ms, how:
--   'keep' what is known stays but the later end and the earlier use count; 'set' this is what it is now
-- Answers 1 done, 2 another session has the key.
local NEVER = string.rep('0', 16)
local head, ends, used, rest = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local known = redis.call('GET', KEYS[1])
if known then
  local ended = string.sub(known, 1, 16)
  if string.sub(known, 33, 32 + #head) ~= head then
    if ended > ARGV[5] then
      return 2
    end
  else
    local before = string.sub(known, 17, 32)
    if used == NEVER or before ~= NEVER and before < used then
      used = before
    end
    if ARGV[7] == 'keep' then
      rest = string.sub(known, 33)
      ends = ended > ends and ended or ends
    end
  end
end
local lasts = tonumber(ends) - tonumber(ARGV[5]) + tonumber(ARGV[6])
redis.call('SET', KEYS[1], ends .. used .. rest, 'PX', string.format('%.0f', math.max(lasts, 1)))
return 1
