-- How far a Pipeline is. Pure: it looks at nothing but the object.
--
-- While a change waits for its decision it is what stands here, unless the Pipeline says otherwise in its
-- annotation sluice.dev/argocd-waits-as: Suspended, or Healthy where a sync has to go on meanwhile.
local waitsAs = "Suspended"

local metadata = obj.metadata or {}
local status = obj.status or {}
local conditions = {}
for _, condition in ipairs(status.conditions or {}) do
  conditions[condition.type] = condition
end
local ready = conditions["Ready"]

if metadata.deletionTimestamp ~= nil then
  return {status = "Progressing", message = "It is being deleted"}
end
-- What is said of an older spec says nothing of this one.
if ready == nil or status.observedGeneration ~= metadata.generation then
  return {status = "Progressing", message = "Sluice hasn't looked at it yet"}
end

if ready.reason == "AwaitingApproval" then
  local annotations = metadata.annotations or {}
  local wanted = annotations["sluice.dev/argocd-waits-as"]
  if wanted == "Healthy" or wanted == "Suspended" then
    waitsAs = wanted
  end
  local approval = status.approval or {}
  if approval.state ~= "Awaiting" or approval.changeId == nil then
    return {status = waitsAs, message = ready.message}
  end
  local message = "Change " .. approval.changeId .. " waits for approval: " .. (approval.summary or "")
    .. ". To approve it: the action approve, or spec.approvedChange: " .. approval.changeId .. " in Git"
  for _, type in ipairs({"UnfoundedApproval", "StaleApproval"}) do
    if conditions[type] ~= nil then
      message = message .. ". " .. conditions[type].message
    end
  end
  return {status = waitsAs, message = message}
end

if ready.status == "True" then
  return {status = "Healthy", message = ready.message}
end
-- A rejection is final; what is stalled waits for somebody to act.
local stalled = conditions["Stalled"]
if ready.reason == "Rejected" or (stalled ~= nil and stalled.status == "True") then
  return {status = "Degraded", message = ready.message}
end
return {status = "Progressing", message = ready.message}
