{{- define "clicktide.labels" -}}
app.kubernetes.io/name: clicktide
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .name }}
{{- end }}

{{/* The container of one process; its health is what `--health`, or the API, tells. */}}
{{- define "clicktide.pod" -}}
{{- $values := .root.Values -}}
{{- $of := index $values .name -}}
securityContext: {runAsNonRoot: true, runAsUser: 10001, fsGroup: 10001, seccompProfile: {type: RuntimeDefault}}
terminationGracePeriodSeconds: 60
{{- if eq .name "register" }}
# It reads what the trainer saves.
affinity:
  podAffinity:
    requiredDuringSchedulingIgnoredDuringExecution:
      - topologyKey: kubernetes.io/hostname
        labelSelector:
          matchLabels: {{- include "clicktide.labels" (dict "root" .root "name" "train") | nindent 12 }}
{{- end }}
containers:
  - name: {{ .name }}
    image: {{ $values.image }}
    imagePullPolicy: {{ $values.imagePullPolicy }}
    args: {{ toJson .args }}
    env:
      - {name: CLICKTIDE_LOG, value: {{ required "log: kafka://... must be given" $values.log | quote }}}
      - {name: CLICKTIDE_LOG_FORMAT, value: json}
      - {name: CLICKTIDE_SPEC, value: {{ $values.spec | quote }}}
      {{- if $values.redis }}
      - {name: CLICKTIDE_REDIS, value: {{ $values.redis | quote }}}
      {{- end }}
      {{- if $values.mlflow }}
      - {name: MLFLOW_TRACKING_URI, value: {{ $values.mlflow | quote }}}
      {{- end }}
      - {name: POD_NAME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
      {{- range $key, $value := $values.settings }}
      - {name: CLICKTIDE_{{ $key }}, value: {{ $value | quote }}}
      {{- end }}
    {{- if $values.secret }}
    envFrom: [{secretRef: {name: {{ $values.secret }}}}]
    {{- end }}
    ports: [{name: http, containerPort: {{ .port }}}]
    startupProbe: {httpGet: {path: /healthz, port: http}, periodSeconds: 5, failureThreshold: 60}
    livenessProbe: {httpGet: {path: /healthz, port: http}, periodSeconds: 15, timeoutSeconds: 10}
    {{- if eq .name "serve" }}
    readinessProbe: {httpGet: {path: /readyz, port: http}, periodSeconds: 2, timeoutSeconds: 5}
    {{- end }}
    resources: {{ toJson $of.resources }}
    securityContext: {allowPrivilegeEscalation: false, readOnlyRootFilesystem: false, capabilities: {drop: [ALL]}}
    volumeMounts:
      - {name: run, mountPath: /var/lib/clicktide}
      {{- if $values.files }}
      - {name: files, mountPath: /etc/clicktide, readOnly: true}
      {{- end }}
volumes:
  {{- if .claim }}
  - {name: run, persistentVolumeClaim: {claimName: {{ .claim }}}}
  {{- else }}
  - {name: run, emptyDir: {}}
  {{- end }}
  {{- if $values.files }}
  - {name: files, configMap: {name: {{ .root.Release.Name }}-files}}
  {{- end }}
{{- end }}
