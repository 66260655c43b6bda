{{/* The metadata of an object: its name is in the dot's "name". */}}
{{- define "sluice-pipelines.metadata" -}}
name: {{ .name }}
namespace: {{ .root.Release.Namespace }}
labels:
  app.kubernetes.io/name: {{ .name }}
  app.kubernetes.io/instance: {{ .root.Release.Name }}
  app.kubernetes.io/managed-by: {{ .root.Release.Service }}
  {{- with .root.Values.labels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- if or .root.Values.annotations .root.Values.keep }}
annotations:
  {{- if .root.Values.keep }}
  helm.sh/resource-policy: keep
  {{- end }}
  {{- with .root.Values.annotations }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}
{{- end }}
