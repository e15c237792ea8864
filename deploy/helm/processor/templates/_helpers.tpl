{{- define "processor.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride -}}
{{- else if contains "processor" .Release.Name -}}
{{- .Release.Name | trunc 53 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-processor" .Release.Name | trunc 53 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- /* Labels of every object. */ -}}
{{- define "processor.labels" -}}
app.kubernetes.io/name: processor
app.kubernetes.io/instance: {{ .Release.Name | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service | quote }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | quote }}
{{- end -}}

{{- /* Labels by which the worker's pods are found. */ -}}
{{- define "processor.worker" -}}
app.kubernetes.io/name: processor
app.kubernetes.io/instance: {{ .Release.Name | quote }}
app.kubernetes.io/component: worker
{{- end -}}

{{- /* Labels by which the migration's pod is found. */ -}}
{{- define "processor.migration" -}}
app.kubernetes.io/name: processor
app.kubernetes.io/instance: {{ .Release.Name | quote }}
app.kubernetes.io/component: migrate
{{- end -}}

{{- define "processor.image" -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" .Values.image.repository .Values.image.tag -}}
{{- end -}}
{{- end -}}

{{- /* What the pod of a worker and that of a migration have in common. */ -}}
{{- define "processor.pod" -}}
automountServiceAccountToken: false
# Otherwise a Service named redis would set REDIS_PORT and similar variables.
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  runAsUser: 65532
  runAsGroup: 65532
  fsGroup: 65532
  seccompProfile:
    type: RuntimeDefault
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.serviceAccountName }}
serviceAccountName: {{ . | quote }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "processor.securityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{- /* extraEnv of (dict "env" LIST "set" NAMES "where" VALUE): a name must not be set twice. */ -}}
{{- define "processor.extraEnv" -}}
{{- $set := .set -}}
{{- range .env -}}
{{- $file := printf "%s_FILE" .name -}}
{{- if has .name $set -}}
{{- fail (printf "%s: %s is set by the chart or twice" $.where .name) -}}
{{- else if has $file $set -}}
{{- fail (printf "%s: %s is read from existingSecret" $.where .name) -}}
{{- end -}}
{{- $set = append $set .name -}}
{{- end -}}
{{- with .env }}
{{ toYaml . }}
{{- end }}
{{- end -}}
