package sandbox

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/amacneil/dbmate/v2/pkg/dbmate"
	_ "github.com/amacneil/dbmate/v2/pkg/driver/postgres"
	"github.com/jackc/pgx/v5"
)

const superuser = "postgres"

// PostgresOptions are the settings of a PostgreSQL server. fsync and synchronous_commit are on, as by
// default, unless ExtraConf changes them.
type PostgresOptions struct {
	// BinDir is the directory of initdb and postgres. Empty means the first of: the directory in the
	// environment variable SANDBOX_POSTGRES_BIN, the newest of Debian's versions, PATH.
	BinDir string
	// ExtraConf are additional lines of postgresql.conf. They override the lines of this package.
	ExtraConf []string
}

// Postgres is a PostgreSQL server. It loads TimescaleDB if its installation has it.
type Postgres struct {
	Server
	port        int
	password    string
	timescaleDB bool
}

// StartPostgres creates a database cluster (initdb), starts a server on it and returns when the server
// accepts connections. ctx bounds only the start. The caller calls Stop. The error wraps [ErrNotInstalled]
// if there are no binaries.
//
// PostgreSQL refuses to run as root. If this process is root, the server runs as the user postgres or, if
// that does not exist, as the user nobody.
func StartPostgres(ctx context.Context, options PostgresOptions) (*Postgres, error) {
	installed, err := findPostgres(options.BinDir)
	if err != nil {
		return nil, fmt.Errorf("start PostgreSQL: %w", err)
	}
	return startPostgres(ctx, installed, options.ExtraConf)
}

// startPostgres owns the temporary directories of installed.
func startPostgres(ctx context.Context, installed postgresInstallation, extraConf []string) (*Postgres, error) {
	p := &Postgres{password: rand.Text(), timescaleDB: installed.hasTimescaleDB(ctx)}
	p.name = "PostgreSQL"
	p.stopSignal = syscall.SIGINT // fast shutdown: sessions end with SQLSTATE 57P01
	p.ping = p.pingServer
	p.temporary = installed.temporary

	err := p.prepare(ctx, installed, extraConf)
	if err == nil {
		err = p.start(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, p.Stop(ctx))
	}
	return p, nil
}

// prepare creates the database cluster and the command that starts the server.
func (p *Postgres) prepare(ctx context.Context, installed postgresInstallation, extraConf []string) error {
	credential, err := serverCredential()
	if err != nil {
		return p.wrap("start", err)
	}
	if p.port, err = freePort(); err != nil {
		return p.wrap("start", err)
	}
	dir, err := os.MkdirTemp("", "processor-postgres-")
	if err != nil {
		return p.wrap("start", err)
	}
	p.temporary = append(p.temporary, dir)
	p.log = filepath.Join(dir, "postgres.log")

	command := func(name string, args ...string) *exec.Cmd {
		cmd := exec.Command(filepath.Join(installed.binDir, name), args...)
		cmd.Dir = dir
		cmd.Env = serverEnviron()
		cmd.SysProcAttr = sysProcAttr(credential)
		return cmd
	}
	data, passwordFile := filepath.Join(dir, "data"), filepath.Join(dir, "password")
	if err := os.WriteFile(passwordFile, []byte(p.password), 0o600); err != nil {
		return p.wrap("start", err)
	}
	if credential != nil {
		for _, path := range []string{dir, passwordFile} {
			if err := os.Chown(path, int(credential.Uid), int(credential.Gid)); err != nil {
				return p.wrap("start", err)
			}
		}
	}
	if err := p.initdb(ctx, command("initdb", "--pgdata", data, "--no-sync", "--no-instructions",
		"--username", superuser, "--pwfile", passwordFile, "--auth", "scram-sha-256",
		"--encoding", "UTF8", "--locale", "C.UTF-8")); err != nil {
		return p.wrap("initdb for", err)
	}
	if err := appendLines(filepath.Join(data, "postgresql.conf"), append(p.conf(dir), extraConf...)); err != nil {
		return p.wrap("configure", err)
	}
	p.command = func() *exec.Cmd { return command("postgres", "-D", data) }
	return nil
}

func (p *Postgres) initdb(ctx context.Context, cmd *exec.Cmd) error {
	initdb, err := startProcess(cmd, p.log)
	if err != nil {
		return err
	}
	select {
	case <-initdb.done:
	case <-ctx.Done():
		return errors.Join(context.Cause(ctx), initdb.kill())
	}
	if !cmd.ProcessState.Success() {
		return fmt.Errorf("%s: %s", cmd.ProcessState, lastLines(p.log))
	}
	return nil
}

func (p *Postgres) conf(socketDir string) []string {
	lines := []string{
		"listen_addresses = '127.0.0.1'",
		fmt.Sprintf("port = %d", p.port),
		fmt.Sprintf("unix_socket_directories = '%s'", socketDir),
	}
	if p.timescaleDB {
		lines = append(lines,
			"shared_preload_libraries = 'timescaledb'",
			"timescaledb.telemetry_level = off",
			// TimescaleDB runs a scheduler in each database with the extension.
			"max_worker_processes = 32",
		)
	}
	return lines
}

func appendLines(path string, lines []string) error {
	file, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = file.WriteString(strings.Join(lines, "\n") + "\n")
	return errors.Join(err, file.Close())
}

// URL returns the connection URL of the named database, with the superuser and its password.
func (p *Postgres) URL(database string) string {
	u := url.URL{
		Scheme:   "postgres",
		User:     url.UserPassword(superuser, p.password),
		Host:     address(p.port),
		Path:     database,
		RawQuery: "sslmode=disable",
	}
	return u.String()
}

// HasTimescaleDB reports whether the server has loaded TimescaleDB. Each database also needs CREATE
// EXTENSION, see [Postgres.EnableTimescaleDB].
func (p *Postgres) HasTimescaleDB() bool {
	return p.timescaleDB
}

// CreateDatabase creates an empty database. It checks ctx only before it sends the statement.
func (p *Postgres) CreateDatabase(ctx context.Context, name string) error {
	if err := context.Cause(ctx); err != nil {
		return fmt.Errorf("create database %s: %w", name, err)
	}
	target, err := url.Parse(p.URL(name))
	if err != nil {
		return fmt.Errorf("create database %s: %w", name, err)
	}
	db := dbmate.New(target)
	db.Log = io.Discard
	if err := db.Create(); err != nil {
		return fmt.Errorf("create database %s: %w", name, err)
	}
	return nil
}

// StopImmediate stops the server with SIGQUIT, PostgreSQL's immediate shutdown: sessions end with SQLSTATE
// 57P02, and the next start recovers as after a crash. It keeps the files, for Restart.
func (p *Postgres) StopImmediate(ctx context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.wrap("stop", p.process.stop(ctx, syscall.SIGQUIT))
}

func (p *Postgres) pingServer(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	conn, err := pgx.Connect(ctx, p.URL("postgres"))
	if err != nil {
		return err
	}
	return conn.Close(ctx)
}

// PlainTableURL adds the session setting processor.allow_plain_table = on to a database URL. It allows the
// migrations to create a plain table if TimescaleDB is missing.
func PlainTableURL(databaseURL string) (string, error) {
	u, err := url.Parse(databaseURL)
	if err != nil {
		return "", errors.New("not a database URL") // url.Error holds the URL with its password
	}
	query := u.Query()
	options := strings.TrimSpace(query.Get("options") + " -c processor.allow_plain_table=on")
	query.Set("options", options)
	// In a libpq URL a plus sign does not mean a space.
	u.RawQuery = strings.ReplaceAll(query.Encode(), "+", "%20")
	return u.String(), nil
}
