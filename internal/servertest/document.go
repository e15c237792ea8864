package servertest

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Generated requires that a Markdown page of docs/ holds text between its comments "<!-- generated: part -->" and
// "<!-- end: part -->". With UPDATE_DOCS=1 in the environment it writes the text there first. It works in a
// package two levels below the repository's root.
func Generated(t testing.TB, page, part, text string) {
	t.Helper()
	path := filepath.Join("../../docs", page)
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, begins := strings.Cut(string(content), "<!-- generated: "+part+" -->\n")
	found, after, ends := strings.Cut(rest, "<!-- end: "+part+" -->\n")
	if !begins || !ends {
		t.Fatalf("docs/%s has no part %q", page, part)
	}
	if text = "\n" + strings.TrimSpace(text) + "\n\n"; found == text {
		return
	}
	if os.Getenv("UPDATE_DOCS") == "" {
		t.Fatalf("docs/%s, part %q, differs from the code: run this test with UPDATE_DOCS=1. Wanted:\n%s", page, part, text)
	}
	whole := before + "<!-- generated: " + part + " -->\n" + text + "<!-- end: " + part + " -->\n" + after
	if err := os.WriteFile(path, []byte(whole), 0o644); err != nil {
		t.Fatal(err)
	}
}
