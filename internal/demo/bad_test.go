package demo

import (
	"testing"

	"github.com/stretchr/testify/require"

	"processor/internal/position"
)

func TestFaults_AreRejectedForTheirReason(t *testing.T) {
	var decoder position.Decoder
	_, err := decoder.Decode([]byte(goodPayload))
	require.NoError(t, err)
	payloads := map[string]bool{}
	for _, f := range faults() {
		payload := f.payload()
		require.NotEqual(t, goodPayload, string(payload))
		require.False(t, payloads[string(payload)])
		payloads[string(payload)] = true
		_, err := decoder.Decode(payload)
		var rejected *position.Error
		require.ErrorAs(t, err, &rejected, string(payload))
		require.Equal(t, f.reason, rejected.Reason, string(payload))
	}
	require.Len(t, payloads, 12, "as the scene says")
}

func TestBadRecords_AreNumbered(t *testing.T) {
	names := map[string]bool{}
	for first := 0; first < 36; first += 12 {
		for _, r := range badRecords(first, noon) {
			names[r.DeviceID] = true
			require.Equal(t, noon, r.Timestamp)
		}
	}
	require.Len(t, names, 36)
	require.Contains(t, names, "bad-0")
	require.Contains(t, names, "bad-35")
}
