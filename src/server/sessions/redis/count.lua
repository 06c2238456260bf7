-- How many numbers are free, lent, set apart, and rest.
advance()
local apart = redis.call('HLEN', SPARE)
local lent = redis.call('HLEN', OWNERS)
return { redis.call('ZCARD', FREE), lent, apart, redis.call('ZCARD', REST) }
