-- A visitor's session never was, unless the visitor has another by now.
-- KEYS: visitor  ARGV: session
-- Answers 1 it is forgotten, 0 there is another, or none.
local known = redis.call('GET', KEYS[1])
if not known or string.sub(known, 33) ~= ARGV[1] then
  return 0
end
return redis.call('DEL', KEYS[1])
