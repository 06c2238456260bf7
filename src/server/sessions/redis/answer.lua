-- A request that may be sent again: 'C' and whose claim it is while it is being answered, then 'A', its
-- fingerprint and its answer.
-- KEYS: request  ARGV: what is done
--   'claim', begin of the node's claims, claim, ms: answers {0} it is to be answered by the node, {1} another
--     is at it, {2, fingerprint and answer}
--   'keep', fingerprint and answer, ms: an answer that is there stays
--   'leave', claim: it came to nothing
local known = redis.call('GET', KEYS[1])
local is_answered = known and string.sub(known, 1, 1) == 'A'
if ARGV[1] == 'claim' then
  if is_answered then
    return { 2, string.sub(known, 2) }
  elseif known and string.sub(known, 2, 1 + #ARGV[2]) ~= ARGV[2] then
    return { 1 }
  end
  redis.call('SET', KEYS[1], 'C' .. ARGV[3], 'PX', ARGV[4])
elseif ARGV[1] == 'keep' then
  if not is_answered then
    redis.call('SET', KEYS[1], 'A' .. ARGV[2], 'PX', ARGV[3])
  end
elseif known == 'C' .. ARGV[2] then
  redis.call('DEL', KEYS[1])
end
return { 0 }
