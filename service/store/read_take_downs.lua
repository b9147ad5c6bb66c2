-- Reads the list that take_downs.lua changes, if the reader does not know it yet. The text of a block says all, in every version
-- of the format, so values are not read.
--
-- KEYS[1] hash as in take_downs.lua. ARGV[1], ARGV[2] lineage and changes of the list that the reader knows
-- Returns lineage and changes of the list, '' and '0' if there is none, and the texts with line breaks between them if it is new.

local found = redis.call('HMGET', KEYS[1], 'lineage', 'changes')
local lineage, changes = found[1] or '', found[2] or '0'
if lineage == ARGV[1] and changes == ARGV[2] then return {lineage, changes} end
local texts = {}
for _, text in ipairs(redis.call('HKEYS', KEYS[1])) do
  if text ~= 'lineage' and text ~= 'changes' then texts[#texts + 1] = text end
end
return {lineage, changes, table.concat(texts, '\n')}
