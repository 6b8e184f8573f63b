{{- /* (list $ NAME): the image NAME of the values, with its digest or tag. */}}
{{- define "my-network-converter.image" -}}
{{- $root := index . 0 }}
{{- $image := get $root.Values.images (index . 1) }}
{{- with $root.Values.images.registry }}{{ trimSuffix "/" . }}/{{ end }}{{ $image.repository }}
{{- if $image.digest }}@{{ $image.digest }}{{ else }}:{{ $image.tag | default $root.Chart.AppVersion }}{{ end }}
{{- end }}

{{- /* A value as text. Helm reads large numbers as floating-point ones, and writes 1e+11. */}}
{{- define "my-network-converter.text" -}}
{{- if or (kindIs "map" .) (kindIs "slice" .) }}
{{- toYaml . }}
{{- else if and (kindIs "float64" .) (eq (floor .) .) }}
{{- int64 . }}
{{- else }}
{{- . }}
{{- end }}
{{- end }}

{{- /* (list $ PART NAME DEFAULT): a setting as text. */}}
{{- define "my-network-converter.setting" -}}
{{- $settings := (get (index . 0).Values (index . 1)).settings }}
{{- $value := index . 3 }}
{{- if hasKey $settings (index . 2) }}{{ $value = get $settings (index . 2) }}{{ end }}
{{- include "my-network-converter.text" $value }}
{{- end }}

{{- /* The setting WATCH_NAMESPACES. Fails if the list of namespaces cannot be right. */}}
{{- define "my-network-converter.watched" -}}
{{- $names := list }}
{{- $served := list }}
{{- range .Values.namespaces }}
{{- if eq .name $.Release.Namespace }}
{{- fail (printf "namespaces: %s is the namespace of the release; conversions need another one" .name) }}
{{- end }}
{{- if has .name $names }}{{ fail (printf "namespaces: %s is listed twice" .name) }}{{ end }}
{{- $names = append $names .name }}
{{- if dig "serve" true . }}{{ $served = append $served .name }}{{ end }}
{{- end }}
{{- if .Values.watchAllNamespaces }}
{{- print "*" }}
{{- else if not $served }}
{{- fail "namespaces: at least one needs serve: true" }}
{{- else }}
{{- join "," $served }}
{{- end }}
{{- end }}

{{- define "my-network-converter.gatewayNamespace" -}}
{{- .Values.gateway.namespace | default (first .Values.namespaces).name }}
{{- end }}

{{- /* Who may connect to the HTTP API. */}}
{{- define "my-network-converter.callers" -}}
{{- if eq (include "my-network-converter.setting" (list . "gateway" "GATEWAY_AUTH" "token")) "network" -}}
- namespaceSelector:
    matchLabels:
      kubernetes.io/metadata.name: {{ .Values.gateway.callerNamespace | default (include "my-network-converter.gatewayNamespace" .) | quote }}
{{- else -}}
- namespaceSelector: {}
{{- end }}
{{- end }}

{{- /* The volume of the claim of a namespace. */}}
{{- define "my-network-converter.claim" -}}
{{- $claim := .claim | default dict }}
{{- if hasKey $claim "storageClassName" }}
storageClassName: {{ $claim.storageClassName | quote }}
{{- end }}
{{- with $claim.volumeName }}
volumeName: {{ . | quote }}
{{- end }}
{{- end }}

{{- /* (list $ PART): the annotations of a pod. The HTTP API restarts when its settings change. */}}
{{- define "my-network-converter.annotations" -}}
{{- $root := index . 0 }}
{{- $annotations := (get $root.Values (index . 1)).podAnnotations }}
{{- if eq (index . 1) "gateway" }}
{{- $settings := include (print $root.Template.BasePath "/gateway/settings.yaml") $root }}
{{- $annotations = merge (dict "checksum/settings" (sha256sum $settings)) $annotations }}
{{- end }}
{{- with $annotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- /* (list $ PART): more fields of a pod. */}}
{{- define "my-network-converter.pod" -}}
{{- $part := get (index . 0).Values (index . 1) }}
{{- with (index . 0).Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $part.priorityClassName }}
priorityClassName: {{ . | quote }}
{{- end }}
{{- with $part.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $part.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $part.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- /* (list $ NAMESPACE): the folder of the volume that the converters of a namespace see. */}}
{{- define "my-network-converter.volumeFolder" -}}
{{- $folder := include "my-network-converter.setting" (list (index . 0) "operator" "CONVERTER_VOLUME_FOLDER" "") }}
{{- trimAll "/" $folder | replace "{namespace}" (index . 1) | default "." }}
{{- end }}
