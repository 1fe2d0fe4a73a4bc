-- Takes one place from a limit (GCRA): KEYS[1] the bucket; ARGV: burst, microseconds for each place, 1 to take or -1 to give back.
-- Returns {taken (1 or 0), places left, microseconds until a place is free}.
local burst, interval, sign = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local full = math.max(tonumber(redis.call('GET', KEYS[1]) or now), now)
local room = now + burst * interval
local next_full = math.max(full + sign * interval, now)
if next_full > room then
  return {0, 0, next_full - room}
end
if next_full > now then
  redis.call('SET', KEYS[1], string.format('%d', next_full), 'PX', math.ceil((next_full - now) / 1000))
else
  redis.call('DEL', KEYS[1])
end
return {1, math.floor((room - next_full) / interval), 0}
