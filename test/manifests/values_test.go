package manifests

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"sigs.k8s.io/kustomize/kyaml/yaml"
)

// chartValue is a value that the chart's users set: its comment says what it means.
type chartValue struct{ path, fallback, meaning string }

// chartValues returns the values of values.yaml that have a comment, in their order. Every other one is a group of such.
func chartValues(t *testing.T) []chartValue {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(chartDir, "values.yaml"))
	require.NoError(t, err)
	var document yaml.Node
	require.NoError(t, yaml.Unmarshal(text, &document))
	var found []chartValue
	var walk func(prefix string, node *yaml.Node)
	walk = func(prefix string, node *yaml.Node) {
		require.Equal(t, yaml.MappingNode, node.Kind, "%s has no comment", prefix)
		require.NotEmpty(t, node.Content, "%s has no comment", prefix)
		for i := 0; i < len(node.Content); i += 2 {
			key, value := node.Content[i], node.Content[i+1]
			if key.HeadComment == "" {
				walk(prefix+key.Value+".", value)
				continue
			}
			lines := strings.Split(key.HeadComment, "\n")
			for i, line := range lines {
				lines[i] = strings.TrimSpace(strings.TrimPrefix(line, "#"))
			}
			found = append(found, chartValue{prefix + key.Value, fallback(t, value), strings.Join(lines, " ")})
		}
	}
	walk("", document.Content[0])
	return found
}

// fallback returns a default on one line, and "" for one that is too long.
func fallback(t *testing.T, node *yaml.Node) string {
	t.Helper()
	var value any
	require.NoError(t, node.Decode(&value))
	text, err := json.Marshal(value)
	require.NoError(t, err)
	if len(text) > 40 {
		return ""
	}
	return string(text)
}

// The table of values in README.md is made of the comments. UPDATE_DOCS=1 writes it.
func TestChart_ReadmeListsEveryValue(t *testing.T) {
	table := "| value | default | meaning |\n|---|---|---|\n"
	for _, v := range chartValues(t) {
		require.Regexp(t, `^[A-Z].*\.$`, v.meaning, v.path)
		shown := "see `values.yaml`"
		if v.fallback != "" {
			shown = "`" + v.fallback + "`"
		}
		table += fmt.Sprintf("| `%s` | %s | %s |\n", v.path, shown, v.meaning)
	}
	path := filepath.Join(chartDir, "README.md")
	page, err := os.ReadFile(path)
	require.NoError(t, err)
	before, _, found := strings.Cut(string(page), "| value |")
	require.True(t, found)
	if os.Getenv("UPDATE_DOCS") != "" {
		require.NoError(t, os.WriteFile(path, []byte(before+table), 0o644))
		return
	}
	require.Equal(t, before+table, string(page), "run UPDATE_DOCS=1 go test -run ReadmeLists in test/manifests")
}

// The schema has each value, and no other; a misspelt one is refused at every level.
func TestChart_SchemaHasEveryValue(t *testing.T) {
	type schema struct {
		AdditionalProperties any
		Properties           map[string]json.RawMessage
	}
	text, err := os.ReadFile(filepath.Join(chartDir, "values.schema.json"))
	require.NoError(t, err)
	groups := map[string]map[string]bool{}
	for _, v := range chartValues(t) {
		prefix := ""
		for _, key := range strings.Split(v.path, ".") {
			if groups[prefix] == nil {
				groups[prefix] = map[string]bool{}
			}
			groups[prefix][key] = true
			prefix += key + "."
		}
	}
	groups[""]["global"] = true // of a chart above
	var walk func(prefix string, text []byte)
	walk = func(prefix string, text []byte) {
		var s schema
		require.NoError(t, json.Unmarshal(text, &s))
		require.Equal(t, false, s.AdditionalProperties, prefix)
		for key, below := range s.Properties {
			require.True(t, groups[prefix][key], "values.yaml lacks %s%s", prefix, key)
			if groups[prefix+key+"."] != nil {
				walk(prefix+key+".", below)
			}
		}
		for key := range groups[prefix] {
			require.Contains(t, s.Properties, key, "values.schema.json: %s", prefix)
		}
	}
	walk("", text)
}
