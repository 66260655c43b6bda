-- Which actions a Pipeline has: to approve, while a change waits for its decision; to reject, also while the engine
-- hasn't been told yet that it is approved. None where a vote would do nothing.
local approval = (obj.status or {}).approval or {}
local known = approval.changeId ~= nil and obj.metadata.deletionTimestamp == nil
local waits = known and approval.state == "Awaiting"
local approvable = waits
for _, condition in ipairs((obj.status or {}).conditions or {}) do
  -- Names beside fields and annotations are nothing to an object.
  if condition.type == "PoliciesNotInForce" and condition.status == "True"
    and condition.reason ~= "NamesInFieldsCannotBeTrusted" then
    approvable = false
  end
end
local rejectable = waits or (known and approval.state == "Approved")
local which = ""
if rejectable then
  which = " change " .. (approval.shortId or approval.changeId)
end
return {
  approve = {
    disabled = not approvable,
    displayName = "Approve" .. which,
    iconClass = "fa fa-fw fa-check",
    params = {{name = "change"}, {name = "reason"}}
  },
  reject = {
    disabled = not rejectable,
    displayName = "Reject" .. which,
    iconClass = "fa fa-fw fa-ban",
    params = {{name = "change"}, {name = "reason"}}
  }
}
