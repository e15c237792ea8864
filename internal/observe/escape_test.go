package observe

import (
	"bytes"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
)

// unprintable holds a C1 control character, an override of the direction, a line separator, DEL, a tag
// beyond the first plane, a null and an escape.
const unprintable = "é🚚 \u009b2J \u202egp \u2028 \x7f \U000e0001 \x00 \x1b[2J"

func TestJSONLines_LeaveNothingUnprintable(t *testing.T) {
	const want = `"é🚚 \u009b2J \u202egp \u2028 \u007f \udb40\udc01 \u0000 \u001b[2J"`
	var out bytes.Buffer
	require.NoError(t, json.NewEncoder(JSONLines(&out)).Encode(unprintable))
	require.Equal(t, want+"\n", out.String())
	var back string
	require.NoError(t, json.Unmarshal(out.Bytes(), &back))
	require.Equal(t, unprintable, back, "it is the same value")

	out.Reset()
	logger := NewLogger(&out, slog.LevelInfo)
	logger.Info("m"+unprintable, "k"+unprintable, unprintable, "error", errors.New(unprintable))
	require.Contains(t, out.String(), `"msg":"m`+want[1:]+`,"k`+want[1:]+`:`+want+`,"error":`+want)

	h := NewHealth(nil, HealthOptions{})
	h.Fail("stream "+unprintable, errors.New(unprintable))
	recorder := httptest.NewRecorder()
	Handler(prometheus.NewRegistry(), h).ServeHTTP(recorder, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/readyz", nil))
	require.Contains(t, recorder.Body.String(), `"error":`+want)
	require.NotContains(t, recorder.Body.String(), "\u202e")
}
