package servertest

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// TimescaleDB starts a PostgreSQL 17 with TimescaleDB, compiled to WebAssembly, for one test and returns
// the URL of its only, empty database. It needs only Node.js, so that migrations and statements are always
// tested on a real hypertable. It is not suitable for measurements: it has one backend, connections take
// turns with their transactions, and settings in the URL have no effect (test/timescale/server.mjs).
func TimescaleDB(t testing.TB) string {
	t.Helper()
	dir := npmProject(t)
	if _, err := os.Stat(filepath.Join(dir, "node_modules")); err != nil {
		t.Fatalf("%v: run scripts/test, or npm ci in test/timescale", err)
	}
	var stderr bytes.Buffer
	cmd := exec.Command("node", "server.mjs")
	cmd.Dir = dir
	cmd.Stderr = &stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatalf("start TimescaleDB: %v: install Node.js 20 or later", err)
	}
	kill := time.AfterFunc(startTimeout, func() { _ = cmd.Process.Kill() }) // unblocks the read below
	defer kill.Stop()
	var port int
	if _, err := fmt.Fscanf(stdout, "ready %d\n", &port); err != nil {
		_ = cmd.Process.Kill()
		t.Fatalf("start TimescaleDB: %v: %v: %s", err, cmd.Wait(), &stderr)
	}
	t.Cleanup(func() {
		_ = stdin.Close() // ends the process; Wait returns its error
		if err := cmd.Wait(); err != nil {
			t.Errorf("stop TimescaleDB: %v: %s", err, &stderr)
		}
	})
	return fmt.Sprintf("postgres://postgres:postgres@127.0.0.1:%d/postgres?sslmode=disable", port)
}

// Dbmate returns the path of the dbmate command line.
func Dbmate(t testing.TB) string {
	t.Helper()
	path := filepath.Join(npmProject(t), "node_modules", ".bin", "dbmate")
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("%v: run scripts/test, or npm ci in test/timescale", err)
	}
	return path
}

// npmProject returns the path of test/timescale. It searches for go.mod upwards, because tests run in the
// directory of their package.
func npmProject(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return filepath.Join(dir, "test", "timescale")
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			t.Fatal("no go.mod above the test's directory")
		}
		dir = parent
	}
}
