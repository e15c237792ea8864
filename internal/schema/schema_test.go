package schema_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"processor/internal/column"
	"processor/internal/schema"
	"processor/internal/servertest"
)

func TestColumns_AreThoseOfTheMigrations(t *testing.T) {
	url := servertest.Migrated(t)
	state, err := schema.Read(t.Context(), servertest.Connect(t, url))
	require.NoError(t, err)
	made := map[string]string{}
	for _, c := range state.Columns {
		made[c.Name] = c.Type
	}
	for _, c := range column.All() {
		require.Equal(t, c.Type, made[c.Name], c.Name)
	}
}
