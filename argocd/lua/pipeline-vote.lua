-- Votes on the change that waits, by its whole id. With the parameter `change`, its id or the short one, only
-- if it still is that change which waits; `reason` says why.
local vote = "approve"
-- Who runs the action, as Kubernetes knows him: where no mutating admission policy writes it.
local account = nil

local approval = (obj.status or {}).approval or {}
if approval.state ~= "Awaiting" or approval.changeId == nil then
  error("no change waits for a decision")
end
local given = actionParams or {}
local change = given["change"]
if change ~= nil and change ~= "" and change ~= approval.changeId and change ~= approval.shortId then
  error("change " .. change .. " doesn't wait; change " .. approval.changeId .. " does: " .. (approval.summary or ""))
end
local annotations = obj.metadata.annotations or {}
annotations["sluice.dev/" .. vote] = approval.changeId
if account ~= nil then
  annotations["sluice.dev/" .. vote .. "-by"] = account
end
-- The reason of an older vote is none of this one.
local reason = given["reason"]
if reason == "" then
  reason = nil
end
annotations["sluice.dev/reason"] = reason
obj.metadata.annotations = annotations
return obj
