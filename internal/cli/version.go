package cli

import (
	"fmt"

	"processor/internal/observe"
)

type versionCmd struct{}

// Run is called by kong.
func (c *versionCmd) Run(build observe.BuildInfo, out Streams) error {
	_, err := fmt.Fprintf(out.Out, "processor %s (revision %s, %s)\n", build.Version, build.Commit, build.GoVersion)
	return err
}
