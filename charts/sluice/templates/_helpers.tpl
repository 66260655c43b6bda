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
