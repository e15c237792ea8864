package position

import (
	"math"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestParseFloat_IsStrconvs(t *testing.T) {
	check := func(text string) {
		want, wantErr := strconv.ParseFloat(text, 64)
		got, err := parseFloat([]byte(text))
		require.Equal(t, wantErr, err, text)
		require.Equal(t, math.Float64bits(want), math.Float64bits(got), text)
	}
	for _, text := range []string{
		"0", "-0", "0.0", "-0.0", "0.00000000000000", "-0.0000000000000", "1", "-1", "0.1", "0.2", "0.3", "41.4349316", "-2.2190583", "214.7483648",
		"999999999999999", "9999999999999999", "-999999999999999", "9007199254740993", "0.99999999999999", "0.999999999999999", "9.00719925474099",
		"99999999999999.9", "0.00000000000001", "1e5", "1E5", "-1e-5", "1.5e300", "1e999", "-1e999", "0e0", "5e-324", "2.5e-324", "1e-400",
		"123456789012345678", "0.1234567890123456789", "2.2250738585072011e-308", "1" + strings.Repeat("0", 400),
	} {
		check(text)
	}
	const seed = 12
	random := rand.New(rand.NewPCG(seed, seed))
	for range 20_000 {
		text := strconv.FormatInt(random.Int64N(int64(math.Pow10(1+random.IntN(17)))), 10)
		if n := random.IntN(len(text) + 1); n > 0 && n < len(text) {
			text = text[:n] + "." + text[n:]
		}
		if random.IntN(2) == 0 {
			text = "0." + strings.ReplaceAll(text, ".", "")
		}
		if random.IntN(2) == 0 {
			text = "-" + text
		}
		check(text)
	}
}
