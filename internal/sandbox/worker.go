//go:build worker

package sandbox

import (
	"context"
	"fmt"
)

// The build tag worker excludes miniredis, with its Lua interpreter, and the download of PostgreSQL, which
// only a demo on a machine without servers needs. The image is built with this tag.

// StartMiniredis returns an error: this build excludes miniredis.
func StartMiniredis() (url string, stop func(), err error) {
	return "", nil, fmt.Errorf("redis-server is %w and this build has no substitute: install Debian's redis-server, or use go run . demo", ErrNotInstalled)
}

// StartEmbeddedPostgres returns an error: this build excludes the download.
func StartEmbeddedPostgres(context.Context, PostgresOptions) (*Postgres, error) {
	return nil, fmt.Errorf("PostgreSQL is %w and this build cannot download it: install Debian's postgresql, or use go run . demo", ErrNotInstalled)
}
