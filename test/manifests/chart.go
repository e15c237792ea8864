package manifests

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"helm.sh/helm/v3/pkg/chart"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/engine"
	"sigs.k8s.io/yaml"
)

// Render returns the manifests that helm template prints for a release, hooks included. The values, as YAML, are
// checked against the chart's schema first.
func Render(c *chart.Chart, release string, values []byte) ([]string, error) {
	given, err := chartutil.ReadValues(values)
	if err != nil {
		return nil, fmt.Errorf("read values: %w", err)
	}
	all, err := chartutil.ToRenderValues(c, given, chartutil.ReleaseOptions{Name: release, Namespace: "telemetry", Revision: 1, IsInstall: true}, nil)
	if err != nil {
		return nil, fmt.Errorf("check values: %w", err)
	}
	files, err := engine.Render(c, all)
	if err != nil {
		return nil, fmt.Errorf("render chart: %w", err)
	}
	var manifests []string
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if ext := path.Ext(name); ext != ".yaml" {
			continue // NOTES.txt
		}
		for _, manifest := range strings.Split("\n"+files[name], "\n---\n") {
			var object map[string]any
			if err := yaml.Unmarshal([]byte(manifest), &object); err != nil {
				return nil, fmt.Errorf("read %s: %w", name, err)
			}
			if len(object) > 0 {
				manifests = append(manifests, strings.TrimPrefix(manifest, "\n"))
			}
		}
	}
	return manifests, nil
}
