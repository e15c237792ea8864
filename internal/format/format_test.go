package format

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestThousands(t *testing.T) {
	for n, want := range map[int64]string{0: "0", 7: "7", 999: "999", 1000: "1,000", 446_889: "446,889", 1_000_000: "1,000,000", -999: "-999", -1000: "-1,000", -123_456: "-123,456"} {
		require.Equal(t, want, Thousands(n))
	}
}
