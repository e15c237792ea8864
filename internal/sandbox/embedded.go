//go:build !worker

package sandbox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	embeddedpostgres "github.com/fergusstrange/embedded-postgres"
)

// StartEmbeddedPostgres is [StartPostgres] for machines without PostgreSQL: it downloads the binaries
// (some 30 MB, once; the archive stays in ~/.embedded-postgres-go) and unpacks them into a temporary
// directory. They have no TimescaleDB. ctx does not interrupt the download.
func StartEmbeddedPostgres(ctx context.Context, options PostgresOptions) (*Postgres, error) {
	dir, err := os.MkdirTemp("", "processor-postgres-binaries-")
	if err != nil {
		return nil, fmt.Errorf("start embedded PostgreSQL: %w", err)
	}
	if err := fetchPostgres(dir); err != nil {
		return nil, errors.Join(fmt.Errorf("start embedded PostgreSQL: %w; or install Debian's postgresql", err), os.RemoveAll(dir))
	}
	installed := postgresInstallation{binDir: filepath.Join(dir, "bin"), temporary: []string{dir}}
	return startPostgres(ctx, installed, options.ExtraConf)
}

// fetchPostgres downloads and unpacks the binaries into dir.
//
// The library does so only on the way to starting a server of its own. That server is of no use here: the
// library cannot start one as root, nor pause or kill it. So what counts is whether the binaries are there.
func fetchPostgres(dir string) error {
	port, err := freePort()
	if err != nil {
		return err
	}
	// The server's other user must be able to run what lies here.
	if err := os.Chmod(dir, 0o755); err != nil {
		return err
	}
	server := embeddedpostgres.NewDatabase(embeddedpostgres.DefaultConfig().
		Version(embeddedpostgres.V17).
		Port(uint32(port)).
		BinariesPath(dir).
		RuntimePath(filepath.Join(dir, "runtime")).
		Logger(io.Discard))
	if err = server.Start(); err == nil {
		err = server.Stop()
	}
	if hasServer(filepath.Join(dir, "bin")) {
		return nil
	}
	return fmt.Errorf("download its binaries: %w", err)
}
