package sandbox

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

const (
	postgresBinVariable = "SANDBOX_POSTGRES_BIN"
	redisBinVariable    = "SANDBOX_REDIS_BIN"
)

// findRedis returns the path of a Redis server: of the one named, of redis-server or valkey-server in the directory
// that SANDBOX_REDIS_BIN names, or of redis-server on PATH.
func findRedis(name string) (string, error) {
	dir := os.Getenv(redisBinVariable)
	names := []string{filepath.Join(dir, "redis-server"), filepath.Join(dir, "valkey-server")}
	switch {
	case name != "":
		names = []string{name}
	case dir == "":
		names = []string{"redis-server"}
	}
	for _, name := range names {
		if path, err := findBinary(name); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("%s is %w: install Debian's redis-server, or set %s to its directory", strings.Join(names, " or "), ErrNotInstalled, redisBinVariable)
}

// postgresInstallation is a directory with PostgreSQL's binaries.
type postgresInstallation struct {
	binDir    string
	temporary []string // directories to remove after use
}

func findPostgres(binDir string) (postgresInstallation, error) {
	if binDir == "" {
		binDir = os.Getenv(postgresBinVariable)
	}
	if binDir != "" {
		if !hasServer(binDir) {
			return postgresInstallation{}, fmt.Errorf("%w in %s: set a directory that contains initdb and postgres", ErrNotInstalled, binDir)
		}
		return postgresInstallation{binDir: binDir}, nil
	}
	for _, dir := range append(debianBinDirs(), binDirOnPath()) {
		if hasServer(dir) {
			return postgresInstallation{binDir: dir}, nil
		}
	}
	return postgresInstallation{}, fmt.Errorf("%w: install Debian's postgresql, or set %s to its bin directory", ErrNotInstalled, postgresBinVariable)
}

// debianBinDirs lists the bin directories of Debian's PostgreSQL versions, newest first.
func debianBinDirs() []string {
	dirs, _ := filepath.Glob("/usr/lib/postgresql/*/bin") // the pattern is well-formed
	version := func(dir string) int {
		n, _ := strconv.Atoi(filepath.Base(filepath.Dir(dir))) // 0, sorted last, if not a number
		return n
	}
	slices.SortFunc(dirs, func(a, b string) int { return version(b) - version(a) })
	return dirs
}

// binDirOnPath returns the directory of initdb on PATH, or "". It resolves symbolic links, because the
// server finds its libraries relative to the real path.
func binDirOnPath() string {
	path, err := findBinary("initdb")
	if err != nil {
		return ""
	}
	if path, err = filepath.EvalSymlinks(path); err != nil {
		return ""
	}
	return filepath.Dir(path)
}

func hasServer(binDir string) bool {
	for _, name := range []string{"initdb", "postgres"} {
		if info, err := os.Stat(filepath.Join(binDir, name)); binDir == "" || err != nil || info.IsDir() {
			return false
		}
	}
	return true
}

// hasTimescaleDB reports whether the installation has the library for shared_preload_libraries.
func (i postgresInstallation) hasTimescaleDB(ctx context.Context) bool {
	dirs := []string{filepath.Join(i.binDir, "../lib"), filepath.Join(i.binDir, "../lib/postgresql")}
	if out, err := exec.CommandContext(ctx, filepath.Join(i.binDir, "pg_config"), "--pkglibdir").Output(); err == nil {
		dirs = []string{strings.TrimSpace(string(out))}
	}
	for _, dir := range dirs {
		if libraries, _ := filepath.Glob(filepath.Join(dir, "timescaledb.*")); len(libraries) > 0 {
			return true
		}
	}
	return false
}

// serverCredential returns the user as whom root starts the server, and nil if this process is not root.
func serverCredential() (*syscall.Credential, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	account, err := user.Lookup("postgres")
	if err != nil {
		if account, err = user.Lookup("nobody"); err != nil {
			return nil, fmt.Errorf("find a user other than root to run as: %w", err)
		}
	}
	uid, errUID := strconv.ParseUint(account.Uid, 10, 32)
	gid, errGID := strconv.ParseUint(account.Gid, 10, 32)
	if err := errors.Join(errUID, errGID); err != nil {
		return nil, fmt.Errorf("user %s: %w", account.Username, err)
	}
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
}

// ownByServer makes the user of serverCredential the owner of a file or directory.
func ownByServer(path string) error {
	credential, err := serverCredential()
	if err != nil || credential == nil {
		return err
	}
	return os.Chown(path, int(credential.Uid), int(credential.Gid))
}

// serverEnviron returns this process's environment without variables that libpq and the server read.
func serverEnviron() []string {
	environ := slices.DeleteFunc(os.Environ(), func(variable string) bool {
		return strings.HasPrefix(variable, "PG") || strings.HasPrefix(variable, "LC_")
	})
	return append(environ, "LC_ALL=C")
}
