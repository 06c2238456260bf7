-- A call is on a number, for as long as whoever has the call says so.
-- ARGV: number, call, lease ms
-- Answers 1, or 0 for a number that the pool does not have.
local did = ARGV[FIRST]
advance()
if not is_known(did) then
  return 0
end
local n = read(did)
n.calls[ARGV[FIRST + 1]] = now + tonumber(ARGV[FIRST + 2])
enter(n)
return 1
