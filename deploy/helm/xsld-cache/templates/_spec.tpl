{{- define "xsld-cache.name" -}}
{{ .Values.nameOverride | default .Release.Name }}
{{- end -}}

{{- define "xsld-cache.labels" -}}
app.kubernetes.io/name: xsld
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end -}}

{{- /* The metadata of an object. Takes root, name, and labels and annotations of the user's. */ -}}
{{- define "xsld-cache.metadata" -}}
name: {{ .name }}
namespace: {{ .root.Release.Namespace }}
labels:
  {{- toYaml (merge (include "xsld-cache.labels" .root | fromYaml) (.labels | default dict)) | nindent 2 }}
{{- with .annotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- /* Whether a value says nothing: empty, or a reference without a name. Numbers and booleans always
       say something. As a word, since a template gives text: "empty" or nothing. Takes key and value. */ -}}
{{- define "xsld-cache.empty" -}}
{{- if has (toJson .value) (list "null" "\"\"" "{}" "[]") -}}
empty
{{- else if and (hasSuffix "Ref" .key) (not .value.name) -}}
empty
{{- end -}}
{{- end -}}

{{- /* The name of the Secret that the chart makes of plain credentials. NAME-credentials would be the
       operator's. */ -}}
{{- define "xsld-cache.login" -}}
{{ include "xsld-cache.name" . }}-login
{{- end -}}

{{- /* The spec: every value with the name of a field, but for what says nothing. Two levels deep, as the
       schema lets values be empty; what is below is the user's own and stays as it is. */ -}}
{{- define "xsld-cache.spec" -}}
{{- $chart := list "nameOverride" "labels" "annotations" "dataGrids" "gridTemplates" "global" -}}
{{- $plain := list "adminPwd" "secretKey" -}}
{{- $spec := dict -}}
{{- range $field, $value := .Values -}}
{{- if not (or (has $field $chart) (has $field $plain) (include "xsld-cache.empty" (dict "key" $field "value" $value))) -}}
{{- if kindIs "map" $value -}}
{{- $kept := dict -}}
{{- range $key, $inner := $value -}}
{{- if not (include "xsld-cache.empty" (dict "key" $key "value" $inner)) -}}
{{- $_ := set $kept $key $inner -}}
{{- end -}}
{{- end -}}
{{- if $kept -}}
{{- $_ := set $spec $field $kept -}}
{{- end -}}
{{- else -}}
{{- $_ := set $spec $field $value -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- $login := include "xsld-cache.login" . -}}
{{- if .Values.adminPwd -}}
{{- $_ := set $spec "adminPasswordSecretRef" (dict "name" $login "key" "adminPassword") -}}
{{- end -}}
{{- if .Values.secretKey -}}
{{- $_ := set $spec "secretKeySecretRef" (dict "name" $login "key" "secretKey") -}}
{{- end -}}
{{- toYaml $spec -}}
{{- end -}}

{{- /* What the schema cannot say, with the key in the message and never its value. */ -}}
{{- define "xsld-cache.check" -}}
{{- if not .Values.license -}}
{{- fail "license: set it to accept, by which you accept the licence of the product" -}}
{{- end -}}
{{- range $plain, $reference := dict "adminPwd" "adminPasswordSecretRef" "secretKey" "secretKeySecretRef" -}}
{{- $named := (index $.Values $reference | default dict).name -}}
{{- $given := index $.Values $plain -}}
{{- if and $named $given -}}
{{- fail (printf "%s.name and %s are both set: set one of them" $reference $plain) -}}
{{- end -}}
{{- if not (or $named $given) -}}
{{- fail (printf "%s.name: name the Secret, or set %s" $reference $plain) -}}
{{- end -}}
{{- end -}}
{{- end -}}
