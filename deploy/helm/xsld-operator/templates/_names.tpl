{{- /*
Names and labels. The operator's own names are fixed: the program looks for its Lease, its anchor and
its Service by them, and the rights are granted by them. A namespace therefore holds one operator.
*/ -}}

{{- /* What finds the operator's pod. A StatefulSet can never change it. */ -}}
{{- define "xsld-operator.selector" -}}
app.kubernetes.io/name: xsld-operator
{{- end -}}

{{- /* Of the pod and of every object. None changes with the version: the operator's ServiceMonitor
       finds the Service by all of its labels. */ -}}
{{- define "xsld-operator.labels" -}}
{{ include "xsld-operator.selector" . }}
app.kubernetes.io/part-of: xsld-operator
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end -}}

{{- define "xsld-operator.account" -}}
{{ .Values.serviceAccount.name | default "xsld-operator" }}
{{- end -}}

{{- define "xsld-operator.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{ .repository }}@{{ .digest }}
{{- else -}}
{{ .repository }}:{{ .tag | default $.Chart.AppVersion }}
{{- end -}}
{{- end -}}
{{- end -}}

{{- /* A role that is of the whole cluster also in a release for one namespace, so its name tells releases
       apart. That of the plain manifests in their own namespace. Takes root and name. */ -}}
{{- define "xsld-operator.ofRelease" -}}
{{- $namespace := .root.Release.Namespace -}}
{{ .name }}{{ if ne $namespace "xsld-operator" }}-{{ $namespace }}{{ end }}
{{- end -}}

{{- /* A role, its rules taken from a file of the plain manifests. Takes root, kind (Role or ClusterRole),
       name and file. */ -}}
{{- define "xsld-operator.role" -}}
{{- $rules := (.root.Files.Get .file | splitList "\n---\n" | first | fromYaml).rules -}}
apiVersion: rbac.authorization.k8s.io/v1
kind: {{ .kind }}
metadata:
  name: {{ .name }}
  {{- if eq .kind "Role" }}
  namespace: {{ .root.Release.Namespace }}
  {{- end }}
  labels:
    {{- include "xsld-operator.labels" .root | nindent 4 }}
rules:
  {{- toYaml $rules | nindent 2 }}
{{- end -}}

{{- /* The same, bound to the operator's account. */ -}}
{{- define "xsld-operator.boundRole" -}}
{{ include "xsld-operator.role" . }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: {{ .kind }}Binding
metadata:
  name: {{ .name }}
  {{- if eq .kind "Role" }}
  namespace: {{ .root.Release.Namespace }}
  {{- end }}
  labels:
    {{- include "xsld-operator.labels" .root | nindent 4 }}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: {{ .kind }}
  name: {{ .name }}
subjects:
  - kind: ServiceAccount
    name: {{ include "xsld-operator.account" .root }}
    namespace: {{ .root.Release.Namespace }}
{{- end -}}
