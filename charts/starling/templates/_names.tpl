{{/* Name of the release's objects: the release's own name where it says starling already. */}}
{{- define "starling.name" -}}
{{- ternary .Release.Name (printf "%s-starling" .Release.Name) (contains "starling" .Release.Name) | trunc 50 | trimSuffix "-" -}}
{{- end -}}

{{/* Name of cluster-scoped objects: the same release name may be used in two namespaces. */}}
{{- define "starling.clusterName" -}}
{{- printf "%s:%s" .Release.Namespace (include "starling.name" .) -}}
{{- end -}}

{{- define "starling.serviceAccount" -}}
{{- .Values.serviceAccount.name | default (ternary (include "starling.name" .) "default" .Values.serviceAccount.create) -}}
{{- end -}}

{{/* What tells this release's Pods from others; never changes in the life of a release. */}}
{{- define "starling.selector" -}}
app.kubernetes.io/name: starling
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: operator
{{- end -}}

{{- define "starling.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{ include "starling.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "starling.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end -}}

{{/* The operator's rights, as `starling rbac` prints them: three documents, for watched namespaces, its own, the cluster. */}}
{{- define "starling.rules" -}}
{{- $documents := .Files.Get "files/rbac.yaml" | splitList "\n---\n" -}}
watchedNamespaces: {{ (index $documents 0 | fromYaml).rules | toJson }}
ownNamespace: {{ (index $documents 1 | fromYaml).rules | toJson }}
cluster: {{ (index $documents 2 | fromYaml).rules | toJson }}
{{- end -}}
