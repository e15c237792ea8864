package manifests

import (
	"encoding/json"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
)

const kubernetes = "../../deploy/kubernetes"

// definitions maps modules to the custom resource definitions that are in them.
func definitions() map[string][]string {
	return map[string][]string{
		"github.com/kedacore/keda/v2@v2.21.0": {
			"config/crd/bases/keda.sh_scaledobjects.yaml",
			"config/crd/bases/keda.sh_triggerauthentications.yaml",
		},
		"github.com/prometheus-operator/prometheus-operator@v0.85.0": {
			"example/prometheus-operator-crd/monitoring.coreos.com_podmonitors.yaml",
			"example/prometheus-operator-crd/monitoring.coreos.com_prometheusrules.yaml",
		},
	}
}

// cluster returns the validator of a cluster with KEDA and the Prometheus Operator. Their modules are downloaded
// for the definitions in them; nothing of them is compiled.
func cluster(t *testing.T) *Validator {
	t.Helper()
	v := &Validator{}
	for module, files := range definitions() {
		download := exec.CommandContext(t.Context(), "go", "mod", "download", "-json", module)
		download.Dir, download.Stderr = t.TempDir(), os.Stderr // outside of this module, whose go.mod lacks them
		output, err := download.Output()
		require.NoError(t, err, "%s", output)
		var downloaded struct{ Dir string }
		require.NoError(t, json.Unmarshal(output, &downloaded))
		for _, file := range files {
			definition, err := os.ReadFile(filepath.Join(downloaded.Dir, file))
			require.NoError(t, err)
			require.NoError(t, v.Define(definition))
		}
	}
	return v
}

// kustomizations lists the directories that kubectl apply -k is used with.
func kustomizations(t *testing.T) []string {
	t.Helper()
	var found []string
	err := filepath.WalkDir(kubernetes, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.Name() == "kustomization.yaml" {
			found = append(found, filepath.Dir(path))
		}
		return err
	})
	require.NoError(t, err)
	require.NotEmpty(t, found)
	return found
}

// build returns the manifests of a kustomization, as kustomize build does.
func build(t *testing.T, dir string) []string {
	t.Helper()
	resources, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), dir)
	require.NoError(t, err, dir)
	text, err := resources.AsYaml()
	require.NoError(t, err, dir)
	return strings.Split(string(text), "\n---\n")
}

func TestManifests_AreWhatAClusterAccepts(t *testing.T) {
	v := cluster(t)
	for _, dir := range kustomizations(t) {
		for _, manifest := range build(t, dir) {
			found, err := v.Validate(t.Context(), []byte(manifest))
			require.NoError(t, err, "%s\n%s", dir, manifest)
			require.Empty(t, found, "%s\n%s", dir, manifest)
		}
	}
}

func TestValidator_FindsFaults(t *testing.T) {
	v := cluster(t)
	var all []string
	for _, dir := range kustomizations(t) {
		all = append(all, build(t, dir)...)
	}
	for name, c := range map[string]struct{ kind, old, new, want string }{
		"misspelt":                   {"Deployment", "readOnlyRootFilesystem:", "readOnlyRootFileSystem:", `unknown field "spec.template.spec.containers[0].securityContext.readOnlyRootFileSystem"`},
		"misspelt at the top":        {"Deployment", "\nspec:\n", "\nspecs:\n", `unknown field "specs"`},
		"misspelt in a probe":        {"Deployment", "failureThreshold:", "failureTreshold:", "failureTreshold"},
		"misspelt in metadata":       {"Service", "  labels:", "  lables:", `unknown field "metadata.lables"`},
		"misspelt in a port":         {"Service", "targetPort:", "targetport:", `unknown field "spec.ports[0].targetport"`},
		"misspelt in a Job":          {"Job", "backoffLimit:", "backofLimit:", `unknown field "spec.backofLimit"`},
		"misspelt in a budget":       {"PodDisruptionBudget", "maxUnavailable:", "maxUnavailible:", `unknown field "spec.maxUnavailible"`},
		"misspelt in a policy":       {"NetworkPolicy", "policyTypes:", "policytypes:", `unknown field "spec.policytypes"`},
		"misspelt for KEDA":          {"ScaledObject", "pollingInterval:", "polingInterval:", `unknown field "spec.polingInterval"`},
		"misspelt authentication":    {"TriggerAuthentication", "secretTargetRef:", "secretTargetRefs:", `unknown field "spec.secretTargetRefs"`},
		"misspelt monitor":           {"PodMonitor", "podMetricsEndpoints:", "podMetricsEndpoint:", `unknown field "spec.podMetricsEndpoint"`},
		"misspelt rule":              {"PrometheusRule", "expr:", "exp:", "exp"},
		"repeated":                   {"Service", "  clusterIP: None", "  clusterIP: None\n  clusterIP: None", "clusterIP"},
		"a type":                     {"Deployment", "periodSeconds: 1\n", "periodSeconds: often\n", "periodSeconds"},
		"a value":                    {"NetworkPolicy", "protocol: UDP", "protocol: UPD", "UPD"},
		"a version of KEDA":          {"ScaledObject", "keda.sh/v1alpha1", "keda.sh/v1alpha9", "v1alpha9"},
		"restart of a Job":           {"Job", "restartPolicy: Never", "restartPolicy: Always", "restartPolicy"},
		"a selector":                 {"Deployment", "matchLabels:\n      app.kubernetes.io/component: worker", "matchLabels:\n      app.kubernetes.io/component: other", "selector"},
		"root":                       {"Deployment", "runAsNonRoot: true", "runAsNonRoot: false", "runAsNonRoot"},
		"privileges":                 {"Job", "allowPrivilegeEscalation: false", "allowPrivilegeEscalation: true", "allowPrivilegeEscalation"},
		"a volume that is not there": {"Deployment", "- mountPath: /run/secrets/processor\n          name: secrets", "- mountPath: /run/secrets/processor\n          name: secret", "secret"},
	} {
		t.Run(name, func(t *testing.T) {
			broken := 0
			for _, manifest := range all {
				if !strings.Contains(manifest, "\nkind: "+c.kind+"\n") || !strings.Contains(manifest, c.old) {
					continue
				}
				broken++
				found, err := v.Validate(t.Context(), []byte(strings.Replace(manifest, c.old, c.new, 1)))
				require.NoError(t, err)
				require.Contains(t, strings.Join(found, "\n"), c.want)
			}
			require.Positive(t, broken, "no %s has %q", c.kind, c.old)
		})
	}
}

func TestValidator_RefusesKindsThatItDoesNotKnow(t *testing.T) {
	found, err := (&Validator{}).Validate(t.Context(), []byte("apiVersion: example.test/v1\nkind: Unknown\nmetadata: {name: x}\n"))
	require.NoError(t, err)
	require.Contains(t, strings.Join(found, "\n"), "no kind \"Unknown\" is registered")

	_, err = (&Validator{}).Validate(t.Context(), []byte("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\n"))
	require.ErrorContains(t, err, "no validation for *core.ConfigMap")
}
