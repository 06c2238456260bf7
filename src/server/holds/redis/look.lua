-- How full buckets are, after what is over was cleared away.
-- KEYS: leases  ARGV: prefix of holds, then of each bucket: key, counts, and the first slice that
-- counts (-1: it has none).
-- Answers used and held of each.
local now = clock()
for _ = 1, 32 do
  if sweep(KEYS[1], ARGV[1], now) < 16 then break end
end
local told = {}
for at = 2, #ARGV, 3 do
  local entry = { [KEY] = ARGV[at], [COUNTS] = tonumber(ARGV[at + 1]), [FIRST] = tonumber(ARGV[at + 2]) }
  local used, held = usage(entry, now)
  told[#told + 1] = used
  told[#told + 1] = held
end
return told
