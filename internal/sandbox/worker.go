//go:build worker

package sandbox

import (
	"context"
	"fmt"
)

// The build tag worker leaves out what only a demo on a machine without servers needs: miniredis with its
// Lua interpreter, and the download of PostgreSQL. The image is built with it.

// StartMiniredis fails: this build has no miniredis.
func StartMiniredis() (url string, stop func(), err error) {
	return "", nil, fmt.Errorf("redis-server is %w, and this build has no substitute: install Debian's redis-server, or use go run . demo", ErrNotInstalled)
}

// StartEmbeddedPostgres fails: this build downloads nothing.
func StartEmbeddedPostgres(context.Context, PostgresOptions) (*Postgres, error) {
	return nil, fmt.Errorf("PostgreSQL is %w, and this build downloads none: install Debian's postgresql, or use go run . demo", ErrNotInstalled)
}
