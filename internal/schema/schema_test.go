package schema_test

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"processor/db"
	"processor/internal/schema"
)

func TestColumns_AreThoseOfTheGeneratedCode(t *testing.T) {
	types := map[string]reflect.Type{
		"text":                     reflect.TypeFor[string](),
		"timestamp with time zone": reflect.TypeFor[time.Time](),
		"double precision":         reflect.TypeFor[float64](),
		"real":                     reflect.TypeFor[float32](),
		"smallint":                 reflect.TypeFor[int16](),
		"jsonb":                    reflect.TypeFor[[]byte](),
	}
	params := reflect.TypeFor[db.CopyPositionsParams]()
	columns := schema.Columns()
	require.Len(t, columns, params.NumField())
	for n, column := range columns {
		field := params.Field(n)
		require.True(t, strings.EqualFold(field.Name, strings.ReplaceAll(column.Name, "_", "")), "%s is not %s", field.Name, column.Name)
		require.Equal(t, types[column.Type], field.Type, column.Name)
	}

	url := migrated(t)
	state, err := schema.Read(t.Context(), connect(t, url))
	require.NoError(t, err)
	for n := range columns {
		require.Equal(t, columns[n].Type, state.Columns[n].Type, columns[n].Name)
		require.Equal(t, columns[n].Name, state.Columns[n].Name)
	}
}
