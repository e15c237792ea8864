package manifests

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"helm.sh/helm/v3/pkg/chart"
	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/lint"
	"helm.sh/helm/v3/pkg/lint/support"
	"sigs.k8s.io/yaml"
)

const (
	chartDir   = "../../deploy/helm/processor"
	everything = `{migrate: {enabled: true}, keda: {enabled: true}, monitoring: {enabled: true}}`
)

func loadChart(t *testing.T) *chart.Chart {
	t.Helper()
	c, err := loader.Load(chartDir)
	require.NoError(t, err)
	return c
}

// render returns what the release "processor" of the chart consists of.
func render(t *testing.T, values string) []string {
	t.Helper()
	manifests, err := Render(loadChart(t), "processor", []byte(values))
	require.NoError(t, err, values)
	return manifests
}

// object returns a manifest as JSON has it.
func object(t *testing.T, manifest string) map[string]any {
	t.Helper()
	var o map[string]any
	require.NoError(t, yaml.UnmarshalStrict([]byte(manifest), &o), manifest)
	return o
}

// objects returns manifests by kind and name.
func objects(t *testing.T, manifests []string) map[string]map[string]any {
	t.Helper()
	found := map[string]map[string]any{}
	for _, manifest := range manifests {
		o := object(t, manifest)
		name := o["kind"].(string) + " " + o["metadata"].(map[string]any)["name"].(string)
		require.NotContains(t, found, name)
		found[name] = o
	}
	return found
}

// withoutHelm removes what only Helm needs: labels of the release, and annotations of hooks.
func withoutHelm(value any) any {
	switch v := value.(type) {
	case map[string]any:
		for key, inner := range v {
			switch {
			case key == "app.kubernetes.io/instance", key == "app.kubernetes.io/managed-by", strings.HasPrefix(key, "helm.sh/"):
				delete(v, key)
			default:
				v[key] = withoutHelm(inner)
			}
		}
		if annotations, is := v["annotations"].(map[string]any); is && len(annotations) == 0 {
			delete(v, "annotations")
		}
	case []any:
		for i := range v {
			v[i] = withoutHelm(v[i])
		}
	}
	return value
}

func TestChart_IsWhatTheKustomizationsAre(t *testing.T) {
	for name, c := range map[string]struct {
		values         string
		kustomizations []string
	}{
		"base":       {``, []string{"base"}},
		"migrate":    {`{migrate: {enabled: true}}`, []string{"base", "migrate"}},
		"keda":       {`{keda: {enabled: true}}`, []string{"keda"}},
		"monitoring": {`{monitoring: {enabled: true}}`, []string{"base", "monitoring"}},
		"everything": {everything, []string{"keda", "migrate", "monitoring"}},
		"image": {`{image: {repository: registry.example/team/processor, tag: 0123abc}, migrate: {enabled: true}}`,
			[]string{"testdata/image"}},
	} {
		t.Run(name, func(t *testing.T) {
			var want []string
			for _, dir := range c.kustomizations {
				if !strings.HasPrefix(dir, "testdata") {
					dir = filepath.Join(kubernetes, dir)
				}
				want = append(want, build(t, dir)...)
			}
			expected, got := objects(t, want), objects(t, render(t, c.values))
			for name := range got {
				withoutHelm(got[name])
			}
			for name := range expected {
				require.Equal(t, expected[name], got[name], name)
			}
			require.Len(t, got, len(expected))
		})
	}
}

// alternatives has another value for each value of values.yaml, and what the manifests then contain.
func alternatives() map[string]struct{ value, want string } {
	return map[string]struct{ value, want string }{
		"image.repository":                   {`registry.example:5000/team/processor`, `registry.example:5000/team/processor:COMMIT`},
		"image.tag":                          {`0123abc`, `processor:0123abc`},
		"image.digest":                       {`sha256:` + strings.Repeat("0", 64), `processor@sha256:` + strings.Repeat("0", 64)},
		"image.pullPolicy":                   {`Always`, `imagePullPolicy: Always`},
		"imagePullSecrets":                   {`[{name: one}, {name: two}]`, `- name: two`},
		"fullnameOverride":                   {`tracker-store`, `name: tracker-store`},
		"replicas":                           {`3`, `replicas: 3`},
		"existingSecret":                     {`my-urls`, `secretName: "my-urls"`},
		"streams":                            {`["telemetry:{a}", "telemetry:{b}"]`, `value: "telemetry:{a},telemetry:{b}"`},
		"group":                              {`other`, `value: "other"`},
		"shutdownTimeoutSeconds":             {`45`, `value: "45s"`},
		"extraEnv":                           {`[{name: WRITERS, value: "4"}]`, `- name: WRITERS`},
		"resources":                          {`{limits: {cpu: 2, memory: 1Gi}}`, `cpu: 2`},
		"scrapeAnnotations":                  {`false`, `kind: Deployment`},
		"podAnnotations":                     {`{example.test/team: fleet}`, `example.test/team: fleet`},
		"podLabels":                          {`{team: fleet}`, `team: fleet`},
		"serviceAccountName":                 {`fleet`, `serviceAccountName: "fleet"`},
		"priorityClassName":                  {`high`, `priorityClassName: "high"`},
		"nodeSelector":                       {`{kubernetes.io/arch: arm64}`, `kubernetes.io/arch: arm64`},
		"tolerations":                        {`[{key: fleet, operator: Exists}]`, `- key: fleet`},
		"affinity":                           {`{podAntiAffinity: {preferredDuringSchedulingIgnoredDuringExecution: [{weight: 1, podAffinityTerm: {topologyKey: zone, labelSelector: {matchLabels: {a: b}}}}]}}`, `topologyKey: zone`},
		"topologySpreadConstraints":          {`[{maxSkew: 2, topologyKey: topology.kubernetes.io/zone, whenUnsatisfiable: DoNotSchedule, labelSelector: {matchLabels: {a: b}}}]`, `maxSkew: 2`},
		"extraVolumes":                       {`[{name: ca, configMap: {name: ca}}]`, `configMap:`},
		"extraVolumeMounts":                  {`[{name: secrets, mountPath: /other}]`, `mountPath: /other`},
		"podDisruptionBudget.enabled":        {`false`, `kind: Deployment`},
		"podDisruptionBudget.maxUnavailable": {`50%`, `maxUnavailable: 50%`},
		"networkPolicy.enabled":              {`false`, `kind: Deployment`},
		"networkPolicy.ingress":              {`[{from: [{namespaceSelector: {matchLabels: {name: monitoring}}}]}]`, `name: monitoring`},
		"networkPolicy.egress":               {`[{to: [{ipBlock: {cidr: 10.0.0.0/8}}]}]`, `cidr: 10.0.0.0/8`},
		"migrate.enabled":                    {`false`, `kind: Deployment`},
		"migrate.existingSecret":             {`my-owner`, `secretName: "my-owner"`},
		"migrate.extraEnv":                   {`[{name: SSL_CERT_FILE, value: /ca}]`, `- name: SSL_CERT_FILE`},
		"migrate.resources":                  {`{limits: {memory: 1Gi}}`, `memory: 1Gi`},
		"migrate.activeDeadlineSeconds":      {`3600`, `activeDeadlineSeconds: 3600`},
		"migrate.ttlSecondsAfterFinished":    {`0`, `ttlSecondsAfterFinished: 0`},
		"migrate.networkPolicy.egress":       {`[{to: [{ipBlock: {cidr: 10.0.0.0/8}}]}]`, `cidr: 10.0.0.0/8`},
		"keda.enabled":                       {`false`, `kind: Deployment`},
		"keda.existingSecret":                {`my-scaler`, `name: "my-scaler"`},
		"keda.minReplicas":                   {`2`, `minReplicaCount: 2`},
		"keda.maxReplicas":                   {`12`, `maxReplicaCount: 12`},
		"keda.pollingInterval":               {`5`, `pollingInterval: 5`},
		"keda.lagCount":                      {`2000000`, `lagCount: "2000000"`},
		"keda.pendingEntriesCount":           {`51000`, `pendingEntriesCount: "51000"`},
		"keda.triggerType":                   {`redis-cluster-streams`, `parameter: addresses`},
		"keda.triggerMetadata":               {`{enableTLS: "true"}`, `enableTLS: "true"`},
		"monitoring.enabled":                 {`false`, `kind: Deployment`},
		"monitoring.labels":                  {`{release: kube-prometheus-stack}`, `release: kube-prometheus-stack`},
		"monitoring.interval":                {`1m30s`, `interval: 1m30s`},
	}
}

// at returns YAML with a value at a path.
func at(path, value string) string {
	for _, key := range slices.Backward(strings.Split(path, ".")) {
		value = "{" + key + ": " + value + "}"
	}
	return value
}

// merged returns the YAML of a with the values of b over them.
func merged(t *testing.T, a, b string) string {
	t.Helper()
	var over func(into, from map[string]any)
	over = func(into, from map[string]any) {
		for key, value := range from {
			below, is := into[key].(map[string]any)
			if with, are := value.(map[string]any); is && are {
				over(below, with)
			} else {
				into[key] = value
			}
		}
	}
	all := object(t, a)
	over(all, object(t, b))
	text, err := yaml.Marshal(all)
	require.NoError(t, err)
	return string(text)
}

// Each value changes something, and the cluster accepts what it changes.
func TestChart_EveryValueHasAnEffect(t *testing.T) {
	v := cluster(t)
	all := alternatives()
	var known []string
	for _, value := range chartValues(t) {
		known = append(known, value.path)
		alternative, has := all[value.path]
		require.True(t, has, "an alternative for %s", value.path)
		before := everything
		if value.path == "replicas" {
			before = `{migrate: {enabled: true}, monitoring: {enabled: true}}`
		}
		got := render(t, merged(t, before, at(value.path, alternative.value)))
		require.NotEqual(t, render(t, before), got, value.path)
		require.Contains(t, strings.Join(got, "\n"), alternative.want, value.path)
		for _, manifest := range got {
			found, err := v.Validate(t.Context(), []byte(manifest))
			require.NoError(t, err, "%s\n%s", value.path, manifest)
			require.Empty(t, found, "%s\n%s", value.path, manifest)
		}
	}
	require.Len(t, all, len(known))
}

func TestChart_Variants(t *testing.T) {
	v := cluster(t)
	for name, c := range map[string]struct {
		values    string
		want, not []string
	}{
		"no replicas":             {`{replicas: 0}`, []string{"replicas: 0"}, nil},
		"the default of a number": {`{}`, nil, []string{"replicas:"}},
		"no pull secret":          {`{imagePullSecrets: []}`, nil, []string{"imagePullSecrets"}},
		"no annotation":           {`{scrapeAnnotations: false}`, nil, []string{"annotations:"}},
		"own annotations alone":   {`{scrapeAnnotations: false, podAnnotations: {a: b}}`, []string{"annotations:\n        a: b"}, []string{"prometheus.io"}},
		"no memory limit":         {`{resources: {limits: null}}`, []string{"requests:"}, []string{"limits:"}},
		"no budget":               {`{podDisruptionBudget: {enabled: false}}`, nil, []string{"PodDisruptionBudget"}},
		"no eviction":             {`{podDisruptionBudget: {maxUnavailable: 0}}`, []string{"maxUnavailable: 0\n  # During"}, nil},
		"no policy":               {`{networkPolicy: {enabled: false}, migrate: {enabled: true}}`, []string{"kind: Job"}, []string{"NetworkPolicy"}},
		"no ingress":              {`{networkPolicy: {ingress: []}}`, []string{"policyTypes: [Ingress, Egress]"}, []string{"ingress:"}},
		"a stream for each trigger": {`{streams: ["a", "b", "c"], keda: {enabled: true}}`,
			[]string{`stream: "a"`, `stream: "b"`, `stream: "c"`, `value: "a,b,c"`}, []string{"telemetry:t"}},
		"a Secret for all":            {`{existingSecret: one, migrate: {enabled: true, existingSecret: one}}`, []string{`secretName: "one"`}, []string{`secretName: "processor`}},
		"KEDA with TLS in database 3": {`{keda: {enabled: true, triggerMetadata: {enableTLS: "true", databaseIndex: "3"}}}`, []string{`databaseIndex: "3"`, "parameter: address,"}, nil},
		"Sentinel":                    {`{keda: {enabled: true, triggerType: redis-sentinel-streams, triggerMetadata: {sentinelMaster: mymaster}}}`, []string{"parameter: addresses,", "type: redis-sentinel-streams"}, nil},
		"a digest":                    {`{image: {digest: "sha256:` + strings.Repeat("a", 64) + `"}}`, nil, []string{"COMMIT"}},
		"environment from a Secret":   {`{extraEnv: [{name: SSL_CERT_FILE, valueFrom: {secretKeyRef: {name: ca, key: path}}}, {name: LOG_LEVEL, value: warn}]}`, []string{"secretKeyRef:", "value: warn"}, nil},
		"a chart above":               {`{global: {anything: true}}`, []string{"kind: Deployment"}, nil},
		"more time to stop":           {`{shutdownTimeoutSeconds: 600}`, []string{`value: "600s"`, "terminationGracePeriodSeconds: 610"}, nil},
		"a large target":              {`{keda: {enabled: true, lagCount: 50000000}}`, []string{`lagCount: "50000000"`}, nil},
		"a private CA":                {`{extraVolumes: [{name: ca, configMap: {name: ca}}], extraVolumeMounts: [{name: ca, mountPath: /ca, readOnly: true}], migrate: {enabled: true}}`, []string{"mountPath: /ca"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			manifests := render(t, c.values)
			for _, manifest := range manifests {
				found, err := v.Validate(t.Context(), []byte(manifest))
				require.NoError(t, err, manifest)
				require.Empty(t, found, manifest)
			}
			text := strings.Join(manifests, "\n")
			for _, want := range c.want {
				require.Contains(t, text, want)
			}
			for _, not := range c.not {
				require.NotContains(t, text, not)
			}
		})
	}
}

func TestChart_RefusesWrongValues(t *testing.T) {
	for name, c := range map[string]struct{ values, want string }{
		"misspelt":                     {`{replica: 3}`, "replica"},
		"misspelt below":               {`{keda: {enable: true}}`, "enable"},
		"misspelt resources":           {`{resources: {limit: {memory: 1Gi}}}`, "limit"},
		"a number as text":             {`{replicas: "3"}`, "/replicas"},
		"fewer than none":              {`{replicas: -1}`, "/replicas"},
		"no stream":                    {`{streams: []}`, "/streams"},
		"one stream as text":           {`{streams: telemetry:t}`, "/streams"},
		"two streams in one":           {`{streams: ["a,b"]}`, "/streams/0"},
		"a stream twice":               {`{streams: ["a", "a"]}`, "/streams"},
		"no tag":                       {`{image: {tag: ""}}`, "/image/tag"},
		"a tag that is a number":       {`{image: {tag: 123}}`, "/image/tag"},
		"a digest without algorithm":   {`{image: {digest: abc}}`, "/image/digest"},
		"a policy of pulling":          {`{image: {pullPolicy: always}}`, "/image/pullPolicy"},
		"no Secret":                    {`{existingSecret: ""}`, "/existingSecret"},
		"no worker with KEDA":          {`{keda: {enabled: true, minReplicas: 0}}`, "/keda/minReplicas"},
		"more minimum than maximum":    {`{keda: {enabled: true, minReplicas: 5}}`, "keda.minReplicas: more than keda.maxReplicas"},
		"replicas and KEDA":            {`{replicas: 2, keda: {enabled: true}}`, "replicas: not with keda.enabled"},
		"no replicas and KEDA":         {`{replicas: 0, keda: {enabled: true}}`, "replicas: not with keda.enabled"},
		"a trigger":                    {`{keda: {triggerType: redis}}`, "/keda/triggerType"},
		"metadata that is no text":     {`{keda: {triggerMetadata: {enableTLS: true}}}`, "/keda/triggerMetadata/enableTLS"},
		"metadata that the chart sets": {`{keda: {triggerMetadata: {stream: other}}}`, "invalid propertyName 'stream'"},
		"a variable of the chart":      {`{extraEnv: [{name: REDIS_STREAM, value: other}]}`, "extraEnv: REDIS_STREAM is set by the chart or twice"},
		"a variable twice":             {`{extraEnv: [{name: WRITERS, value: "1"}, {name: WRITERS, value: "2"}]}`, "extraEnv: WRITERS is set by the chart or twice"},
		"a URL beside its Secret":      {`{extraEnv: [{name: REDIS_URL, value: "redis://r"}]}`, "extraEnv: REDIS_URL is read from existingSecret"},
		"a URL beside that to migrate": {`{migrate: {enabled: true, extraEnv: [{name: DATABASE_URL, value: "postgres://p"}]}}`, "migrate.extraEnv: DATABASE_URL is read from existingSecret"},
		"a variable without name":      {`{extraEnv: [{value: "1"}]}`, "/extraEnv/0"},
		"variables as a map":           {`{extraEnv: {WRITERS: "1"}}`, "/extraEnv"},
		"labels of the selector":       {`{podLabels: {app.kubernetes.io/name: other}}`, "invalid propertyName 'app.kubernetes.io/name'"},
		"an interval":                  {`{monitoring: {interval: often}}`, "/monitoring/interval"},
		"no time to stop":              {`{shutdownTimeoutSeconds: 0}`, "/shutdownTimeoutSeconds"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Render(loadChart(t), "processor", []byte(c.values))
			require.ErrorContains(t, err, c.want)
		})
	}
}

// Releases in one namespace have other names, and their selectors find no pod of each other.
func TestChart_ReleasesAreApart(t *testing.T) {
	for release, want := range map[string]string{
		"processor": "processor", "a": "a-processor", "processor-b": "processor-b", "my-processor": "my-processor",
		strings.Repeat("n", 53): strings.Repeat("n", 53),
	} {
		manifests, err := Render(loadChart(t), release, []byte(everything))
		require.NoError(t, err)
		for name, o := range objects(t, manifests) {
			require.Contains(t, name, " "+want)
			require.LessOrEqual(t, len(o["metadata"].(map[string]any)["name"].(string)), 63)
			labels := o["metadata"].(map[string]any)["labels"].(map[string]any)
			require.Equal(t, release, labels["app.kubernetes.io/instance"], name)
			require.Equal(t, "Helm", labels["app.kubernetes.io/managed-by"], name)
			require.Equal(t, "processor-0.1.0", labels["helm.sh/chart"], name)
			text, err := json.Marshal(o["spec"])
			require.NoError(t, err)
			// Every selector and every pod has the instance wherever it has the name.
			require.Equal(t, strings.Count(string(text), `"app.kubernetes.io/name":`), strings.Count(string(text), `"app.kubernetes.io/instance":"`+release+`"`), name)
		}
	}
}

func TestChart_MigratesBeforeTheWorkers(t *testing.T) {
	found := objects(t, render(t, everything))
	for name, weight := range map[string]string{"NetworkPolicy processor-migrate": "-1", "Job processor-migrate": "0"} {
		require.Equal(t, map[string]any{
			"helm.sh/hook": "pre-install,pre-upgrade", "helm.sh/hook-weight": weight, "helm.sh/hook-delete-policy": "before-hook-creation",
		}, found[name]["metadata"].(map[string]any)["annotations"], name)
	}
}

func TestChart_Lints(t *testing.T) {
	for _, values := range []string{`{}`, everything} {
		for _, message := range lint.All(chartDir, object(t, values), "telemetry", true).Messages {
			require.Less(t, message.Severity, support.WarningSev, message)
		}
	}
}

func TestChart_NotesNameWhatIsMissing(t *testing.T) {
	notes, err := os.ReadFile(filepath.Join(chartDir, "templates/NOTES.txt"))
	require.NoError(t, err)
	require.Contains(t, string(notes), "exists in no registry")
}
