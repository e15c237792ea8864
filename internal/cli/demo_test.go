package cli

import (
	"context"
	"encoding/json"
	"net/http"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestDemo_SuggestsTheCommandThatStartedIt(t *testing.T) {
	require.Equal(t, "go run .", commandLine("/tmp/go-build3057158405/b001/exe/processor"))
	for _, executable := range []string{"/usr/local/bin/processor", "/srv/go-built/processor", "processor"} {
		require.Equal(t, os.Args[0], commandLine(executable))
	}
}

func TestDemo_ConsoleShowsPositionsAndChangesNothing(t *testing.T) {
	url, serve, err := demoConsole("redis://127.0.0.1:1", "postgres://127.0.0.1:1/none")
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- serve(ctx) }()
	t.Cleanup(func() {
		cancel()
		require.NoError(t, <-done)
	})
	response, err := http.Get(url + "api/state")
	require.NoError(t, err)
	defer response.Body.Close()
	var state map[string]any
	require.NoError(t, json.NewDecoder(response.Body).Decode(&state))
	require.Equal(t, true, state["show_positions"])
	require.Equal(t, false, state["allow_changes"])
}
