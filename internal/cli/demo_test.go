package cli

import (
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
