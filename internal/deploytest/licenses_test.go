package deploytest

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// licence names the licence of a text by phrases that only its texts have, and "" for one that it does not know.
func licence(text string) string {
	text = strings.Join(strings.Fields(strings.ToLower(text)), " ")
	has := func(phrase string) bool { return strings.Contains(text, phrase) }
	switch {
	case has("mozilla public license") && has("2.0"):
		return "MPL-2.0"
	case has("gnu general public license"), has("gnu affero"), has("gnu lesser"):
		return ""
	case has("apache license") && has("version 2.0"):
		return "Apache-2.0"
	case has("permission is hereby granted, free of charge") && has("the above copyright notice and this permission notice"):
		return "MIT"
	case has("permission is hereby granted, free of charge"):
		return "MIT-0"
	case has("redistribution and use in source and binary forms") && has("neither the name"):
		return "BSD-3-Clause"
	case has("redistribution and use in source and binary forms"):
		return "BSD-2-Clause"
	}
	return ""
}

func TestLicence_KnowsNoOther(t *testing.T) {
	for _, text := range []string{"", "All rights reserved.", "GNU GENERAL PUBLIC LICENSE Version 2", "GNU AFFERO GENERAL PUBLIC LICENSE", "GNU LESSER GENERAL PUBLIC LICENSE"} {
		require.Empty(t, licence(text), text)
	}
}

// docs/licenses.md lists the modules in the image's binary. UPDATE_DOCS=1 writes its table.
func TestLicenses_AreListedAndKnown(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), "go", "list", "-deps", "-tags", "worker", "-f", "{{with .Module}}{{if not .Main}}{{.Path}} {{.Dir}}{{end}}{{end}}", ".")
	cmd.Dir, cmd.Env = root, append(os.Environ(), "GOOS=linux", "GOARCH=amd64", "CGO_ENABLED=0")
	output, err := cmd.Output()
	require.NoError(t, err)
	modules := strings.Split(strings.TrimSpace(string(output)), "\n")
	slices.Sort(modules)
	table := "| module | licence |\n|---|---|\n"
	for _, module := range slices.Compact(modules) {
		name, dir, found := strings.Cut(module, " ")
		if !found {
			continue // a package of Go's
		}
		var known []string
		for _, pattern := range []string{"LICEN[CS]E*", "COPYING*"} {
			files, err := filepath.Glob(filepath.Join(dir, pattern))
			require.NoError(t, err)
			for _, file := range files {
				text, err := os.ReadFile(file)
				require.NoError(t, err)
				require.NotEmpty(t, licence(string(text)), "%s: decide whether this licence may be in the binary", file)
				known = append(known, licence(string(text)))
			}
		}
		require.NotEmpty(t, known, "%s has no licence", name)
		slices.Sort(known)
		table += "| `" + name + "` | " + strings.Join(slices.Compact(known), ", ") + " |\n"
	}
	page := read(t, "docs/licenses.md")
	before, _, found := strings.Cut(page, "| module |")
	require.True(t, found)
	if os.Getenv("UPDATE_DOCS") != "" {
		require.NoError(t, os.WriteFile(filepath.Join(root, "docs/licenses.md"), []byte(before+table), 0o644))
		return
	}
	require.Equal(t, before+table, page, "run UPDATE_DOCS=1 go test -run TestLicenses ./internal/deploytest")
}
