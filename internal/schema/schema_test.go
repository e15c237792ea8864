package schema_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"processor/internal/column"
	"processor/internal/schema"
)

func TestColumns_AreThoseOfTheMigrations(t *testing.T) {
	columns := column.All()
	url := migrated(t)
	state, err := schema.Read(t.Context(), connect(t, url))
	require.NoError(t, err)
	for n := range columns {
		require.Equal(t, columns[n].Type, state.Columns[n].Type, columns[n].Name)
		require.Equal(t, columns[n].Name, state.Columns[n].Name)
	}
}
