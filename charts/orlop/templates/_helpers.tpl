{{- /*
What several templates share. The names of objects are fixed: a CSI driver's name is the cluster's, so there is one
release of Orlop in a cluster.
*/ -}}

{{- define "orlop.labels" -}}
app.kubernetes.io/name: orlop
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- define "orlop.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}

{{- /* The image of a sidecar: (dict "root" $ "sidecar" .Values.sidecars.NAME) */ -}}
{{- define "orlop.sidecarImage" -}}
{{- with .root.Values.sidecars.registry }}{{ . }}/{{ end }}{{ .sidecar.repository }}:{{ .sidecar.tag }}
{{- end }}

{{- /* What all pods have: how they are pulled and how they reach the network. */ -}}
{{- define "orlop.pod" -}}
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- if .Values.hostNetwork }}
hostNetwork: true
{{- end }}
{{- end }}

{{- /* Where a container reaches the API server, where the kubelet does not say. */ -}}
{{- define "orlop.serverEnv" -}}
{{- with .Values.kubernetesServiceHost }}
- name: KUBERNETES_SERVICE_HOST
  value: {{ . | quote }}
{{- end }}
{{- with .Values.kubernetesServicePort }}
- name: KUBERNETES_SERVICE_PORT
  value: {{ . | quote }}
{{- end }}
{{- end }}

{{- /* The environment of every container of Orlop's own. */ -}}
{{- define "orlop.env" -}}
- name: ORLOP_LOG
  value: {{ .Values.logLevel | quote }}
- name: POD_NAMESPACE
  valueFrom: {fieldRef: {fieldPath: metadata.namespace}}
{{- include "orlop.serverEnv" . }}
{{- end }}

{{- /* The pods of a DaemonSet run on every node of their group, whatever its taints: volumes are mounted there too. */ -}}
{{- define "orlop.everyNode" -}}
tolerations:
  - operator: Exists
{{- end }}

{{- /* A sidecar runs as root, to whom alone the driver's socket is open, and may do nothing else by it. */ -}}
{{- define "orlop.sidecarSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
runAsUser: 0
capabilities: {drop: [ALL]}
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- /* A Prometheus server as the operator is told of it. The names of files that are no paths are keys of the Secret. */ -}}
{{- define "orlop.prometheusServer" -}}
{{- $server := deepCopy . }}
{{- range $field := list "bearerTokenFile" "basicAuthFile" "caFile" }}
{{- with get $server $field }}
{{- if not (hasPrefix "/" .) }}
{{- $_ := set $server $field (printf "/etc/orlop/prometheus/%s" .) }}
{{- end }}
{{- end }}
{{- end }}
{{- toJson $server }}
{{- end }}

{{- /* The labels of what others are to find: (dict "root" $ "labels" MORE) */ -}}
{{- define "orlop.foundLabels" -}}
{{- include "orlop.labels" .root }}
{{- with .labels }}
{{ toYaml . }}
{{- end }}
{{- end }}
