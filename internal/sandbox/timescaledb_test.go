package sandbox_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"processor/internal/sandbox"
	"processor/internal/servertest"
)

func TestPostgres_EnableTimescaleDB(t *testing.T) {
	server := startPostgres(t, sandbox.PostgresOptions{})
	require.NoError(t, server.CreateDatabase(t.Context(), "fleet"))
	conn := servertest.Connect(t, server.URL("fleet"))
	const enabled = "SELECT count(*)::text FROM pg_extension WHERE extname = 'timescaledb'"
	require.Equal(t, "0", queryString(t, conn, enabled))

	err := server.EnableTimescaleDB(t.Context(), "fleet")

	if !server.HasTimescaleDB() {
		require.ErrorContains(t, err, "enable TimescaleDB in database fleet: ")
		require.Equal(t, "0", queryString(t, conn, enabled))
		return
	}
	require.NoError(t, err)
	require.NoError(t, server.EnableTimescaleDB(t.Context(), "fleet"), "a second time")
	require.Equal(t, "1", queryString(t, servertest.Connect(t, server.URL("fleet")), enabled))
}
