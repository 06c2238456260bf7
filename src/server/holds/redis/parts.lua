-- What each node has used of a bucket, whether it counts or not.
-- KEYS: bucket
-- Answers names of parts and what they are.
local told = {}
local fields = redis.call('HGETALL', KEYS[1])
for at = 1, #fields, 2 do
  local kind = string.sub(fields[at], 1, 2)
  if kind == 'u:' or kind == 's:' then
    told[#told + 1] = string.sub(fields[at], 3)
    told[#told + 1] = fields[at + 1]
  end
end
return told
