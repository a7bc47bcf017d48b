-- Keep where to go on after a restart, unless the store knows better.
--
-- KEYS[1]  a partition's resume point: "I C", a line end, and a text
-- ARGV[1], ARGV[2]  I and C that this writer last knew here    ARGV[3], ARGV[4]  the new I and C
-- ARGV[5]  the text
--
-- Gives 1 when it is written, 0 when another writer's is as far or further, and -1 when the store
-- has gone back behind what this writer knew.
local i, c = string.match(redis.call('GET', KEYS[1]) or '0 0\n', '^(%d+) (%d+)\n')
i, c = tonumber(i), tonumber(c)
if i < tonumber(ARGV[1]) or c < tonumber(ARGV[2]) then return -1 end
if tonumber(ARGV[3]) < i or tonumber(ARGV[4]) < c then return 0 end
redis.call('SET', KEYS[1], ARGV[3] .. ' ' .. ARGV[4] .. '\n' .. ARGV[5])
return 1
