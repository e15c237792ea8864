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
// (about 30 MB, once; the archive is kept in ~/.embedded-postgres-go) and unpacks them into a temporary
// directory. They do not include TimescaleDB. ctx does not interrupt the download.
func StartEmbeddedPostgres(ctx context.Context, options PostgresOptions) (*Postgres, error) {
	dir, err := os.MkdirTemp(options.TempDir, "processor-postgres-binaries-")
	if err != nil {
		return nil, fmt.Errorf("start embedded PostgreSQL: %w", err)
	}
	if err := fetchPostgres(dir); err != nil {
		return nil, errors.Join(fmt.Errorf("start embedded PostgreSQL: %w; or install Debian's postgresql", err), os.RemoveAll(dir))
	}
	installed := postgresInstallation{binDir: filepath.Join(dir, "bin"), temporary: []string{dir}}
	return startPostgres(ctx, installed, options)
}

// fetchPostgres downloads and unpacks the binaries into dir.
//
// The library can only do so by starting a server. Its server is not used here, because the library cannot
// start one as root, pause it or kill it. The result is whether the binaries exist afterwards.
func fetchPostgres(dir string) error {
	port, err := FreePort()
	if err != nil {
		return err
	}
	// The server may run as another user, who must be able to execute the binaries.
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
