-- What a node has used according to its own book, where a failover or a loss has forgotten some of
-- it. Never lowers anything.
-- KEYS: one of the buckets  ARGV: node, then per bucket: key, kind, used by the node, expires at ms
-- (0: never, -n: n ms after now unless known). Kind: `u` of a window, `g` of spacing, else the slice
-- of a rolling window.
-- Answers how many buckets had less.
local raised = 0
for at = 2, #ARGV, 4 do
  local key, kind, knows, expires = ARGV[at], ARGV[at + 1], tonumber(ARGV[at + 2]), tonumber(ARGV[at + 3])
  local field = 'used'
  if kind == 'u' then
    field = 'u:' .. ARGV[1]
  elseif kind ~= 'g' then
    field = 's:' .. kind .. ':' .. ARGV[1]
  end
  local has = tonumber(redis.call('HGET', key, field) or 0) or 0
  if knows > has then
    if kind == 'u' then
      add_to_part(key, ARGV[1], knows - has)
    else
      redis.call('HINCRBY', key, field, whole(knows - has))
    end
    raised = raised + 1
    if expires > 0 then
      redis.call('PEXPIREAT', key, whole(expires))
    elseif expires < 0 and redis.call('PTTL', key) < 0 then
      redis.call('PEXPIRE', key, whole(-expires))
    end
  end
end
return raised
