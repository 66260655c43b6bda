{{/* The labels of every object. */}}
{{- define "sluice.labels" -}}
{{ include "sluice.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
{{- end }}

{{/* The labels that select the operator's pod. They can't change from release to release. */}}
{{- define "sluice.selector" -}}
app.kubernetes.io/name: sluice
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{/* The user name of the account that operator and REST endpoint run under. */}}
{{- define "sluice.user" -}}
system:serviceaccount:{{ .Release.Namespace }}:{{ .Values.serviceAccount.name }}
{{- end }}

{{/* The account as the subjects of a binding. */}}
{{- define "sluice.subjects" -}}
- kind: ServiceAccount
  name: {{ .Values.serviceAccount.name }}
  namespace: {{ .Release.Namespace }}
{{- end }}

{{/* The name of the Secret that HTTPS is served with, or nothing. */}}
{{- define "sluice.tlsSecret" -}}
{{- if .Values.api.tlsSecret }}{{ .Values.api.tlsSecret }}
{{- else if .Values.api.certificate.issuerRef.name }}sluice-api-tls
{{- end }}
{{- end }}

{{/* The image, by its digest if there is one. */}}
{{- define "sluice.image" -}}
{{- with .Values.image }}
{{- if .digest }}{{ .repository }}@{{ .digest }}
{{- else }}{{ .repository }}:{{ .tag | default $.Chart.AppVersion }}
{{- end }}
{{- end }}
{{- end }}

{{/* How a container of ours may run: as nobody, and without writing anywhere. */}}
{{- define "sluice.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{- define "sluice.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{/*
What a policy on Pipelines looks at, before and after. A field that is null is there, for a policy, and
says nothing; what has no annotations hasn't even an empty map of them.
*/}}
{{- define "sluice.pipelineVariables" -}}
- name: spec
  expression: object.spec
- name: before
  expression: "oldObject == null ? {} : oldObject.spec"
- name: annotations
  expression: >-
    has(object.metadata.annotations) && object.metadata.annotations != null
    ? object.metadata.annotations : {}
- name: annotationsBefore
  expression: >-
    oldObject != null && has(oldObject.metadata.annotations) && oldObject.metadata.annotations != null
    ? oldObject.metadata.annotations : {}
{{- end }}

{{/*
The votes that a Pipeline itself can carry, and for each of them what beside it says who wrote it:
- `Stands`: whether it is there
- `Anew`: whether it wasn't there before, or is another one
- `By`: the name that is there, or ''
- `ByBefore`: the name that was there before, or ''
- `ByWanted`: the name that has to be there: the requester's if the vote is new, otherwise whatever it was
For spec.approved: true the id of the change that stood in the stored status is kept in the same way, under
`For`. What the request says of the status is never looked at.
*/}}
{{- define "sluice.voteVariables" -}}
- name: user
  expression: request.userInfo.username
# The change that the requester can have read about.
- name: published
  expression: >-
    oldObject != null && has(oldObject.status) && oldObject.status != null
    && has(oldObject.status.approval) && oldObject.status.approval != null
    && has(oldObject.status.approval.changeId) && oldObject.status.approval.changeId != null
    ? oldObject.status.approval.changeId : ''
# Why somebody votes belongs to the vote: whoever changes it votes.
- name: reasonIsNew
  expression: >-
    ('sluice.dev/reason' in variables.annotations ? variables.annotations['sluice.dev/reason'] : '')
    != ('sluice.dev/reason' in variables.annotationsBefore
    ? variables.annotationsBefore['sluice.dev/reason'] : '')
- name: approvedStands
  expression: has(variables.spec.approved) && variables.spec.approved == true
- name: approvedAnew
  expression: "!(has(variables.before.approved) && variables.before.approved == true)"
- name: approvedChangeStands
  expression: has(variables.spec.approvedChange) && variables.spec.approvedChange != null
- name: approvedChangeAnew
  expression: >-
    !(has(variables.before.approvedChange) && variables.before.approvedChange != null
    && variables.before.approvedChange == variables.spec.approvedChange)
{{- range list "approve" "reject" }}
- name: {{ . }}Stands
  expression: "'sluice.dev/{{ . }}' in variables.annotations"
- name: {{ . }}Anew
  expression: >-
    !('sluice.dev/{{ . }}' in variables.annotationsBefore
    && variables.annotationsBefore['sluice.dev/{{ . }}'] == variables.annotations['sluice.dev/{{ . }}'])
    || variables.reasonIsNew
{{- end }}
{{- range $vote, $by := include "sluice.votes" . | fromYaml }}
- name: {{ $vote }}By
  expression: "'sluice.dev/{{ $by }}' in variables.annotations ? variables.annotations['sluice.dev/{{ $by }}'] : ''"
- name: {{ $vote }}ByBefore
  expression: "'sluice.dev/{{ $by }}' in variables.annotationsBefore ? variables.annotationsBefore['sluice.dev/{{ $by }}'] : ''"
- name: {{ $vote }}ByWanted
  expression: "!variables.{{ $vote }}Stands ? '' : variables.{{ $vote }}Anew ? variables.user : variables.{{ $vote }}ByBefore"
{{- end }}
# The votes that the words in sluice.dev/reason were written with. They are no other's: neither of somebody who finds
# them there, left over or planted, and votes without any, nor of the same person on another change.
- name: reasonFor
  expression: "'sluice.dev/reason-for' in variables.annotations ? variables.annotations['sluice.dev/reason-for'] : ''"
- name: reasonForBefore
  expression: "'sluice.dev/reason-for' in variables.annotationsBefore ? variables.annotationsBefore['sluice.dev/reason-for'] : ''"
- name: reasonStands
  expression: "'sluice.dev/reason' in variables.annotations && variables.annotations['sluice.dev/reason'] != ''"
- name: reasonVotes
  expression: >-
    {{ range $i, $vote := list "approve" "reject" }}{{ if $i }} + {{ end }}(variables.{{ $vote }}Stands ? ['{{ $vote }} ' + variables.annotations['sluice.dev/{{ $vote }}']] : []){{ end }}
- name: reasonForVotes
  expression: >-
    !variables.reasonStands ? [] : variables.reasonIsNew ? variables.reasonVotes
    : {{ range $i, $vote := list "approve" "reject" }}{{ if $i }} + {{ end }}(variables.{{ $vote }}Stands && !variables.{{ $vote }}Anew
    && '{{ $vote }} ' + variables.annotations['sluice.dev/{{ $vote }}'] in variables.reasonForBefore.split(', ')
    ? ['{{ $vote }} ' + variables.annotations['sluice.dev/{{ $vote }}']] : []){{ end }}
- name: reasonForWanted
  # Of the same type as the other names, with which it stands in one list.
  expression: "dyn(variables.reasonForVotes.join(', '))"
- name: approvedFor
  expression: "'sluice.dev/approved-for' in variables.annotations ? variables.annotations['sluice.dev/approved-for'] : ''"
- name: approvedForBefore
  expression: "'sluice.dev/approved-for' in variables.annotationsBefore ? variables.annotationsBefore['sluice.dev/approved-for'] : ''"
- name: approvedForWanted
  expression: "!variables.approvedStands ? '' : variables.approvedAnew ? variables.published : variables.approvedForBefore"
{{- end }}

{{/* The votes that a Pipeline can carry, and the annotation, of sluice.dev, that says whose each of them is. */}}
{{- define "sluice.votes" -}}
approved: approved-by
approvedChange: approved-change-by
approve: approve-by
reject: reject-by
{{- end }}

{{/*
Whether the request is one of the operator's own that is forged, in a dry run, to see that this policy, or one of
these, is in force: it makes an object that there never is.
*/}}
{{- define "sluice.isProof" -}}
request.operation == 'CREATE' && request.userInfo.username == {{ include "sluice.user" .root | squote }}
&& has(request.dryRun) && request.dryRun == true
&& has(object.metadata.annotations) && 'sluice.dev/proof' in object.metadata.annotations
&& object.metadata.annotations['sluice.dev/proof'] in [{{ range $i, $policy := .policies }}{{ if $i }}, {{ end }}{{ $policy | squote }}{{ end }}]
{{- end }}

{{/*
Who is written down as an owner of an object has the garbage collector delete it, at once if that owner doesn't
exist. So whoever may not delete it may name no owner either. Taking owners away altogether deletes nothing.
*/}}
{{- define "sluice.ownerVariables" -}}
- name: keepsOwners
  expression: >-
    !has(object.metadata.ownerReferences) || object.metadata.ownerReferences.size() == 0
    || (has(oldObject.metadata.ownerReferences) && oldObject.metadata.ownerReferences == object.metadata.ownerReferences)
{{- end }}
{{- define "sluice.ownerRule" -}}
- expression: >-
    request.operation != 'UPDATE' || variables.keepsOwners
    || authorizer.group('sluice.dev').resource('{{ . }}').namespace(request.namespace)
    .name(object.metadata.name).check('delete').allowed()
  reason: Forbidden
  message: >-
    metadata.ownerReferences can have Kubernetes' garbage collector delete this object, so writing there needs the
    verb delete on it
{{- end }}

{{/*
What of an Engine decides who gets its credential, beside the reference to that itself; a test holds this to the
definition.
*/}}
{{- define "sluice.engineAddress" -}}
[url, tenant, caBundle, caSecretRef]
{{- end }}

{{/* Everything in the status of a Pipeline but its conditions; a test holds this to the definition. */}}
{{- define "sluice.statusFields" -}}
[observedGeneration, phase, pipelineName, engine, content, run, settled, preview, build, refusal, interference,
 seal, waitingSince, heldUpSince, approval, failures, handledRetry, handledAdopt, handledRestart, handledClear, clearing, policies,
 auditPending, turns, history, mark, refusedMark, lost, madeAnew, emptied, spentVotes,
 idleForceStop]
{{- end }}
