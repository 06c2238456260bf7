-- The session's number was shown to nobody: it is free, and nobody had it.
-- ARGV: session
local did = redis.call('HGET', OWNERS, ARGV[FIRST])
if not did then
  return 0
end
redis.call('HDEL', OWNERS, ARGV[FIRST])
local n = read(did)
free_since(n, now)
enter(n)
return 1
