-- A visitor has a session, unless it has a newer one that is live: whoever tells last may tell of an older one.
-- KEYS: visitor  ARGV: when the session began and when it ends, 16 digits each, session, now, 16 digits, how
-- long that is to be known, ms
-- Answers 1 it is the visitor's, 0 there is a newer one.
local began, ends, session, now = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local known = redis.call('GET', KEYS[1])
if known and string.sub(known, 1, 16) > began and string.sub(known, 17, 32) > now then
  return 0
end
redis.call('SET', KEYS[1], began .. ends .. session, 'PX', ARGV[5])
return 1
