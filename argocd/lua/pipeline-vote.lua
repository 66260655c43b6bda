-- Votes on the change that can be decided, by a PipelineApproval that names it by its whole id. Nothing of the Pipeline
-- is touched, so there is nothing that Git could differ from.
--
-- With the parameter `change`, an id or a short one, it votes only if it still is that change which waits;
-- `reason` says why.
local decision = "Approve"
-- Who runs the action, as Kubernetes knows him: where no mutating admission policy writes it.
local account = nil

local approval = (obj.status or {}).approval or {}
-- What is only approved can still be rejected, as long as the engine hasn't been told.
local open = approval.state == "Awaiting" or (approval.state == "Approved" and decision == "Reject")
if not open or approval.changeId == nil then
  error("no change waits for a decision")
end
if obj.metadata.deletionTimestamp ~= nil then
  error("the Pipeline is being deleted, and nothing is decided about it any more")
end
for _, condition in ipairs((obj.status or {}).conditions or {}) do
  -- A rejection counts always, and names beside fields and annotations are nothing to an object.
  if decision == "Approve" and condition.type == "PoliciesNotInForce" and condition.status == "True"
    and condition.reason ~= "NamesInFieldsCannotBeTrusted" then
    error("an approval that is given now would not count: " .. condition.message)
  end
end
local given = actionParams or {}
local change = given["change"]
if change ~= nil and change ~= "" and change ~= approval.changeId and change ~= approval.shortId then
  error("change " .. change .. " doesn't wait; change " .. approval.changeId .. " does: " .. (approval.summary or ""))
end
local reason = given["reason"]
if reason == "" then
  reason = nil
end
local names = {Approve = "approve", Reject = "reject"}
local vote = {
  apiVersion = obj.apiVersion,
  kind = "PipelineApproval",
  metadata = {
    -- The API server draws the rest of the name: one that can be foreseen could be taken by others.
    generateName = obj.metadata.name .. "-" .. names[decision] .. "-",
    namespace = obj.metadata.namespace,
    -- It is shown below its Pipeline, and goes with it.
    ownerReferences = {
      {apiVersion = obj.apiVersion, kind = obj.kind, name = obj.metadata.name, uid = obj.metadata.uid}
    }
  },
  spec = {
    pipelineRef = {name = obj.metadata.name},
    changeId = approval.changeId,
    -- It counts only while the diff is the one that stands there now.
    diffDigest = approval.diffDigest,
    decision = decision,
    reason = reason,
    voter = account
  }
}
-- Nobody keeps it anywhere else, so that it may go some time after its change is settled. A rejection stays.
if decision == "Approve" then
  vote.spec.clearAfter = "Settled"
end
return {{operation = "create", resource = vote}}
