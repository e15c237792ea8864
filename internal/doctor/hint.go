package doctor

import (
	"errors"
	"net"

	"github.com/jackc/pgx/v5/pgconn"

	"processor/internal/store"
)

// Hint returns what a person can do where a server cannot be reached, or refuses the connection; empty for every other error.
func Hint(err error) string {
	var refused *store.SchemaError
	var connecting *pgconn.ConnectError
	var network *net.OpError
	var name *net.DNSError
	switch {
	case errors.As(err, &connecting):
		return hintDatabase(err)
	case errors.As(err, &refused):
		return refused.Fix
	case errors.As(err, &network) && network.Op == "dial", errors.As(err, &name):
		return hintConnection(err)
	}
	return ""
}
