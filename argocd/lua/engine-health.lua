-- How far an Engine is. What may pass by itself is Progressing: as where the engine is still being started
-- by the same sync.
local passing = {NotAskedYet = true, Unreachable = true, Unavailable = true}
local metadata = obj.metadata or {}
local status = obj.status or {}
for _, condition in ipairs(status.conditions or {}) do
  if condition.type == "Ready" then
    if condition.observedGeneration ~= nil and condition.observedGeneration ~= metadata.generation then
      return {status = "Progressing", message = "Sluice hasn't looked at it yet"}
    end
    if condition.status == "True" then
      return {status = "Healthy", message = condition.message}
    end
    if passing[condition.reason] then
      return {status = "Progressing", message = condition.message}
    end
    return {status = "Degraded", message = condition.message}
  end
end
return {status = "Progressing", message = "Sluice hasn't looked at it yet"}
