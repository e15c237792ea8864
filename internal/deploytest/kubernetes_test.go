package deploytest

import (
	"net/http"
	"net/http/httptest"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"processor/internal/service"

	"processor/internal/observe"
)

type manifest struct {
	Kind     string
	Metadata struct{ Name string }
	Spec     struct {
		Template struct {
			Metadata struct{ Labels map[string]string }
			Spec     podSpec
		}
		Selector    struct{ MatchLabels map[string]string }
		PodSelector struct{ MatchLabels map[string]string }
		Ports       []struct{ Port int }
		Ingress     []struct{ Ports []struct{ Port int } }
		Egress      []struct{ Ports []struct{ Port int } }

		JobLabel            string
		PodMetricsEndpoints []struct{ Port, Path string }
		Groups              []any
		Triggers            []struct {
			Type     string
			Metadata map[string]string
		}
		ScaleTargetRef struct{ Name string }
	}
}

type podSpec struct {
	AutomountServiceAccountToken  *bool
	EnableServiceLinks            *bool
	TerminationGracePeriodSeconds int
	SecurityContext               struct {
		RunAsNonRoot   bool
		SeccompProfile struct{ Type string }
	}
	ImagePullSecrets          []struct{ Name string }
	TopologySpreadConstraints []struct{ MatchLabelKeys []string }
	Containers                []container
	Volumes                   []struct {
		Name   string
		Secret struct{ SecretName string }
	}
}

type container struct {
	Image           string
	ImagePullPolicy string
	Args            []string
	Env             []struct{ Name, Value string }
	Ports           []struct {
		Name          string
		ContainerPort int
	}
	StartupProbe    *probe
	LivenessProbe   *probe
	ReadinessProbe  *probe
	SecurityContext struct {
		AllowPrivilegeEscalation *bool
		ReadOnlyRootFilesystem   bool
		Capabilities             struct{ Drop []string }
	}
	Resources    struct{ Requests, Limits map[string]string }
	VolumeMounts []struct{ Name, MountPath string }
}

type probe struct {
	HTTPGet struct{ Path string }
}

// manifests returns all manifests of one kind below deploy/kubernetes.
func manifests(t *testing.T, kind string) []manifest {
	t.Helper()
	var found []manifest
	for _, file := range files(t, "deploy/kubernetes", ".yaml") {
		for _, m := range documents[manifest](t, file) {
			if m.Kind == kind {
				found = append(found, m)
			}
		}
	}
	require.NotEmpty(t, found, kind)
	return found
}

func worker(t *testing.T) (podSpec, container) {
	t.Helper()
	pod := manifests(t, "Deployment")[0].Spec.Template.Spec
	require.Len(t, pod.Containers, 1)
	return pod, pod.Containers[0]
}

func TestKubernetes_PodsRunTheBinaryAsItIsWithoutRights(t *testing.T) {
	no := false
	for _, m := range append(manifests(t, "Deployment"), manifests(t, "Job")...) {
		pod := m.Spec.Template.Spec
		require.Equal(t, &no, pod.AutomountServiceAccountToken, m.Kind)
		require.Equal(t, &no, pod.EnableServiceLinks, m.Kind)
		require.True(t, pod.SecurityContext.RunAsNonRoot, m.Kind)
		require.Equal(t, "RuntimeDefault", pod.SecurityContext.SeccompProfile.Type, m.Kind)
		for _, c := range pod.Containers {
			require.Equal(t, "processor", c.Image)
			requireCommand(t, c.Args...)
			require.Equal(t, &no, c.SecurityContext.AllowPrivilegeEscalation, m.Kind)
			require.True(t, c.SecurityContext.ReadOnlyRootFilesystem, m.Kind)
			require.Equal(t, []string{"ALL"}, c.SecurityContext.Capabilities.Drop, m.Kind)
			require.NotEmpty(t, c.Resources.Limits["memory"], m.Kind)
			for _, e := range c.Env {
				requireVariable(t, e.Name, m.Kind)
			}
		}
	}
}

// The files in …_FILE variables are in a mounted Secret, and the docs show how to create it.
func TestKubernetes_SecretsAreMountedWhereTheyAreRead(t *testing.T) {
	docs := read(t, "docs/kubernetes.md")
	for _, m := range append(manifests(t, "Deployment"), manifests(t, "Job")...) {
		pod := m.Spec.Template.Spec
		read := 0
		for _, e := range pod.Containers[0].Env {
			if !strings.HasSuffix(e.Name, "_FILE") {
				continue
			}
			read++
			require.Equal(t, pod.Containers[0].VolumeMounts[0].MountPath, path.Dir(e.Value), e.Name)
			require.Equal(t, pod.Volumes[0].Name, pod.Containers[0].VolumeMounts[0].Name)
			require.Regexp(t, `secret generic `+pod.Volumes[0].Secret.SecretName+` \\\n.*--from-file=`+path.Base(e.Value)+`=`, docs)
		}
		require.Positive(t, read, m.Kind)
	}
}

func TestKubernetes_WorkerIsProbedWhereItAnswers(t *testing.T) {
	handler := observe.Handler(prometheus.NewRegistry(), observe.NewHealth(nil, observe.HealthOptions{}))
	_, c := worker(t)
	require.Equal(t, "/healthz", c.StartupProbe.HTTPGet.Path)
	require.Equal(t, "/healthz", c.LivenessProbe.HTTPGet.Path, "an outage of a dependency must restart nothing")
	require.Equal(t, "/readyz", c.ReadinessProbe.HTTPGet.Path)
	for _, p := range []*probe{c.StartupProbe, c.LivenessProbe, c.ReadinessProbe} {
		answer := httptest.NewRecorder()
		handler.ServeHTTP(answer, httptest.NewRequestWithContext(t.Context(), http.MethodGet, p.HTTPGet.Path, nil))
		require.Equal(t, http.StatusOK, answer.Code, p.HTTPGet.Path)
	}
	require.Equal(t, httpPort(t), c.Ports[0].ContainerPort)
	require.Equal(t, httpPort(t), manifests(t, "Service")[0].Spec.Ports[0].Port)
	require.Equal(t, httpPort(t), manifests(t, "NetworkPolicy")[0].Spec.Ingress[0].Ports[0].Port)
}

func TestKubernetes_WorkerHasTimeToStop(t *testing.T) {
	pod, c := worker(t)
	timeout := shutdownTimeout(t)
	for _, e := range c.Env {
		if e.Name == "SHUTDOWN_TIMEOUT" {
			var err error
			timeout, err = time.ParseDuration(e.Value)
			require.NoError(t, err)
		}
	}
	require.GreaterOrEqual(t, time.Duration(pod.TerminationGracePeriodSeconds)*time.Second, timeout+5*time.Second)
}

// TestBinary_MemoryIsBoundedInBytes shows the bound: six times BATCH_BYTES for each writer and the reader.
func TestDeploy_WorkerHasTheMemoryThatBatchesCanTake(t *testing.T) {
	defaults := variables(t)
	bound := 6 * number(t, defaults["BATCH_BYTES"]) * (service.MostWriters + 1)
	_, c := worker(t)
	require.Less(t, mebibytes(t, c.Resources.Requests["memory"]), mebibytes(t, c.Resources.Limits["memory"]))
	ours := map[string]string{}
	for _, e := range c.Env {
		ours[e.Name] = e.Value
	}
	compose := composeFile(t).Services["worker"]
	for where, limit := range map[string]string{"deployment.yaml": c.Resources.Limits["memory"], "compose.yaml": compose.MemLimit} {
		golang := mebibytes(t, limit) << 20 * 8 / 10 // what the worker sets GOMEMLIMIT to
		require.Greater(t, golang, bound, where)
	}
	for _, name := range []string{"BATCH_BYTES", "WRITERS", "GOMEMLIMIT"} {
		require.NotContains(t, ours, name, "the default is what was reckoned with")
		require.NotContains(t, compose.Environment, name)
	}
}

func number(t *testing.T, text string) int {
	t.Helper()
	n, err := strconv.Atoi(text)
	require.NoError(t, err)
	return n
}

// mebibytes parses 512MiB (Go), 512Mi (Kubernetes) and 512m (compose).
func mebibytes(t *testing.T, text string) int {
	t.Helper()
	digits := regexp.MustCompile(`^(\d+)(?:MiB|Mi|m)$`).FindStringSubmatch(text)
	require.NotNil(t, digits, text)
	return number(t, digits[1])
}

func TestKubernetes_SelectorsFindTheWorker(t *testing.T) {
	labels := manifests(t, "Deployment")[0].Spec.Selector.MatchLabels
	require.NotEmpty(t, labels)
	require.Equal(t, labels, manifests(t, "PodDisruptionBudget")[0].Spec.Selector.MatchLabels)
}

// An old image of a tag that moves stays on a node: the policy IfNotPresent needs tags that never move.
func TestKubernetes_TagsThatMoveAreNotCached(t *testing.T) {
	type kustomization struct {
		Images []struct{ Name, NewTag string }
	}
	for _, dir := range []string{"base", "migrate"} {
		images := documents[kustomization](t, "deploy/kubernetes/"+dir+"/kustomization.yaml")[0].Images
		require.Len(t, images, 1)
		require.NotContains(t, []string{"", "main", "latest"}, images[0].NewTag, dir)
	}
	for _, m := range append(manifests(t, "Deployment"), manifests(t, "Job")...) {
		require.Equal(t, "IfNotPresent", m.Spec.Template.Spec.Containers[0].ImagePullPolicy, m.Kind)
		require.Len(t, m.Spec.Template.Spec.ImagePullSecrets, 1, m.Kind)
		require.Contains(t, read(t, "docs/kubernetes.md"), "secret docker-registry "+m.Spec.Template.Spec.ImagePullSecrets[0].Name)
	}
}

// During a rollout the old pods must not decide where the new ones go.
func TestKubernetes_SpreadCountsOneReplicaSet(t *testing.T) {
	pod, _ := worker(t)
	require.Len(t, pod.TopologySpreadConstraints, 1)
	require.Equal(t, []string{"pod-template-hash"}, pod.TopologySpreadConstraints[0].MatchLabelKeys)
}

// In a namespace that denies everything else, each kustomization lets its pods reach the database.
func TestKubernetes_PoliciesComeWithTheirPods(t *testing.T) {
	for _, dir := range []string{"base", "migrate"} {
		var labels, selector map[string]string
		var ports []int
		for _, file := range files(t, "deploy/kubernetes/"+dir, ".yaml") {
			for _, m := range documents[manifest](t, file) {
				switch m.Kind {
				case "Deployment", "Job":
					labels = m.Spec.Template.Metadata.Labels
				case "NetworkPolicy":
					selector = m.Spec.PodSelector.MatchLabels
					for _, e := range m.Spec.Egress {
						for _, p := range e.Ports {
							ports = append(ports, p.Port)
						}
					}
				}
			}
		}
		require.NotEmpty(t, labels, dir)
		require.Equal(t, labels, selector, dir)
		require.Subset(t, ports, []int{53, 5432, 6432}, dir)
		require.Equal(t, dir == "base", slices.Contains(ports, 6379), dir)
	}
	type kustomization struct{ Resources []string }
	order := documents[kustomization](t, "deploy/kubernetes/migrate/kustomization.yaml")[0].Resources
	require.Equal(t, []string{"networkpolicy.yaml", "job.yaml"}, order)
}

func TestMonitoring_IsThatOfTheOthers(t *testing.T) {
	monitor := manifests(t, "PodMonitor")[0]
	require.Equal(t, manifests(t, "Deployment")[0].Spec.Selector.MatchLabels, monitor.Spec.Selector.MatchLabels)
	require.Equal(t, "processor", manifests(t, "Deployment")[0].Spec.Template.Metadata.Labels[monitor.Spec.JobLabel], "the job that alerts expect")
	_, c := worker(t)
	require.Len(t, monitor.Spec.PodMetricsEndpoints, 1)
	require.Equal(t, c.Ports[0].Name, monitor.Spec.PodMetricsEndpoints[0].Port)
	require.Equal(t, "/metrics", monitor.Spec.PodMetricsEndpoints[0].Path)

	var groups []any
	for _, file := range []string{"deploy/prometheus/recording.yml", "deploy/prometheus/alerts.yml"} {
		groups = append(groups, documents[struct{ Groups []any }](t, file)[0].Groups...)
	}
	require.Equal(t, groups, manifests(t, "PrometheusRule")[0].Spec.Groups, "run just generate")
}

func TestKEDA_ScalesTheWorkerOnLagAndPending(t *testing.T) {
	scaled := manifests(t, "ScaledObject")[0]
	require.Equal(t, manifests(t, "Deployment")[0].Metadata.Name, scaled.Spec.ScaleTargetRef.Name)
	var targets []string
	for _, trigger := range scaled.Spec.Triggers {
		require.Equal(t, "redis-streams", trigger.Type)
		require.Equal(t, variables(t)["REDIS_STREAM"], trigger.Metadata["stream"])
		require.Equal(t, variables(t)["REDIS_GROUP"], trigger.Metadata["consumerGroup"])
		for _, key := range []string{"lagCount", "pendingEntriesCount", "streamLength"} {
			if trigger.Metadata[key] != "" {
				targets = append(targets, key)
			}
		}
	}
	slices.Sort(targets)
	require.Equal(t, []string{"lagCount", "pendingEntriesCount"}, targets, "KEDA takes one target a trigger")
}

// The pending entries of one replica at full speed must not trigger a second replica; those of a removed
// replica that was at its limits must.
func TestKEDA_PendingTriggerTellsWorkThatWasLeftBehind(t *testing.T) {
	defaults := variables(t)
	inHand := number(t, defaults["BATCH_SIZE"])*(service.MostWriters+1) + // one reader: one stream
		20000 // parked
	found := false
	for _, trigger := range manifests(t, "ScaledObject")[0].Spec.Triggers {
		if target := trigger.Metadata["pendingEntriesCount"]; target != "" {
			found = true
			require.Greater(t, number(t, target), inHand)
			require.Less(t, number(t, target), 2*inHand*9/10, "the HPA lets a tenth pass")
		}
	}
	require.True(t, found)
}

func TestKustomizations_NameFilesThatExist(t *testing.T) {
	type kustomization struct{ Resources []string }
	for _, file := range files(t, "deploy/kubernetes", "kustomization.yaml") {
		for _, resource := range documents[kustomization](t, file)[0].Resources {
			require.FileExists(t, kustomizationFile(path.Join(root, path.Dir(file), resource)), file)
		}
	}
}

// kustomizationFile returns the file of a resource; for a directory this is its kustomization.
func kustomizationFile(resource string) string {
	if path.Ext(resource) == "" {
		return path.Join(resource, "kustomization.yaml")
	}
	return resource
}
