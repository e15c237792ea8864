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
	// TempDir is where the temporary directory is made; the user of the server must be able to enter it. Empty
	// means [os.TempDir].
	TempDir string
	// ExtraConf are additional lines of postgresql.conf. They override the lines of this package.
	ExtraConf []string
}

// Postgres is a PostgreSQL server. It loads TimescaleDB if its installation has it.
type Postgres struct {
	Server
	port        int
	password    string
	timescaleDB bool

	binDir string
	dir    string // holds the cluster, the log and the socket
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
	return startPostgres(ctx, installed, options)
}

// startPostgres owns the temporary directories of installed.
func startPostgres(ctx context.Context, installed postgresInstallation, options PostgresOptions) (*Postgres, error) {
	p := newPostgres(installed.binDir, rand.Text(), installed.hasTimescaleDB(ctx))
	p.temporary = installed.temporary

	err := p.prepare(ctx, options)
	if err == nil {
		err = p.start(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, p.Stop(ctx))
	}
	return p, nil
}

func newPostgres(binDir, password string, timescaleDB bool) *Postgres {
	p := &Postgres{password: password, timescaleDB: timescaleDB, binDir: binDir}
	p.name = "PostgreSQL"
	p.stopSignal = syscall.SIGINT // fast shutdown: sessions end with SQLSTATE 57P01
	p.ping = p.pingServer
	p.command = func() *exec.Cmd { return p.program("postgres", "-D", p.data()) }
	return p
}

// prepare creates the database cluster.
func (p *Postgres) prepare(ctx context.Context, options PostgresOptions) error {
	if err := p.makeDir(options.TempDir); err != nil {
		return p.wrap("start", err)
	}
	passwordFile, err := p.writeFile("password", p.password)
	if err != nil {
		return p.wrap("start", err)
	}
	if err := p.runProgram(ctx, "initdb", "--pgdata", p.data(), "--no-sync", "--no-instructions",
		"--username", superuser, "--pwfile", passwordFile, "--auth", "scram-sha-256",
		"--encoding", "UTF8", "--locale", "C.UTF-8"); err != nil {
		return p.wrap("initdb for", err)
	}
	return p.wrap("configure", p.appendConf(append(p.conf(), options.ExtraConf...)))
}

// makeDir chooses the port, and creates the directory in tempDir that Stop removes.
func (p *Postgres) makeDir(tempDir string) error {
	var err error
	if p.port, err = FreePort(); err != nil {
		return err
	}
	if p.dir, err = os.MkdirTemp(tempDir, "processor-postgres-"); err != nil {
		return err
	}
	p.temporary = append(p.temporary, p.dir)
	p.log = filepath.Join(p.dir, "postgres.log")
	return ownByServer(p.dir)
}

func (p *Postgres) data() string { return filepath.Join(p.dir, "data") }

// writeFile writes a file below the server's directory, readable by the server alone.
func (p *Postgres) writeFile(name, content string) (path string, err error) {
	path = filepath.Join(p.dir, name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		return "", err
	}
	return path, ownByServer(path)
}

// program is a command of the installation, as the server's user.
func (p *Postgres) program(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(p.binDir, name), args...)
	cmd.Dir = p.dir
	cmd.Env = serverEnviron()
	credential, _ := serverCredential() // makeDir has reported its error
	cmd.SysProcAttr = sysProcAttr(credential)
	return cmd
}

// runProgram runs a command of the installation to its end.
func (p *Postgres) runProgram(ctx context.Context, name string, args ...string) error {
	cmd := p.program(name, args...)
	cmd.Env = append(cmd.Env, "PGPASSWORD="+p.password)
	running, err := startProcess(cmd, p.log)
	if err != nil {
		return err
	}
	select {
	case <-running.done:
	case <-ctx.Done():
		return errors.Join(context.Cause(ctx), running.kill())
	}
	if !cmd.ProcessState.Success() {
		return fmt.Errorf("%s: %s", cmd.ProcessState, lastLines(p.log))
	}
	return nil
}

func (p *Postgres) conf() []string {
	lines := []string{
		"listen_addresses = '127.0.0.1'",
		fmt.Sprintf("port = %d", p.port),
		fmt.Sprintf("unix_socket_directories = '%s'", p.dir),
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

// appendConf adds lines to postgresql.conf; of two lines for one setting the last one holds.
func (p *Postgres) appendConf(lines []string) error {
	file, err := os.OpenFile(filepath.Join(p.data(), "postgresql.conf"), os.O_APPEND|os.O_WRONLY, 0)
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

// StopFast stops the server with SIGINT, PostgreSQL's fast shutdown, which waits until the standbys that stream have
// received everything. It keeps the files, for Restart.
func (p *Postgres) StopFast(ctx context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.wrap("stop", p.process.stop(ctx, p.stopSignal))
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
