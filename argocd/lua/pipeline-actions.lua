-- Which actions a Pipeline has: both, while a change waits for its decision.
local approval = (obj.status or {}).approval or {}
local waits = approval.state == "Awaiting" and approval.changeId ~= nil
local which = ""
if waits then
  which = " change " .. (approval.shortId or approval.changeId)
end
return {
  approve = {
    disabled = not waits,
    displayName = "Approve" .. which,
    iconClass = "fa fa-fw fa-check",
    params = {{name = "change"}, {name = "reason"}}
  },
  reject = {
    disabled = not waits,
    displayName = "Reject" .. which,
    iconClass = "fa fa-fw fa-ban",
    params = {{name = "change"}, {name = "reason"}}
  }
}
