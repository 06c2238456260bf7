-- A call on a number has ended. A lease lasts some time longer.
-- ARGV: number, call, after ms
-- Answers {session, end} of the lease, or nothing.
local did, call = ARGV[FIRST], ARGV[FIRST + 1]
local n = read(did)
if not n.calls[call] then
  return {}
end
n.calls[call] = nil
if n.st == 'L' then
  n.kept = now + tonumber(ARGV[FIRST + 2])
  n.exp, n.seen = math.max(n.exp, n.kept), now
elseif n.st == 'F' then
  n.since = now
end
enter(n)
return n.st == 'L' and { n.sid, whole(n.exp) } or {}
