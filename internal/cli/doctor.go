package cli

type doctorCmd struct{}

// Run is called by kong.
func (c *doctorCmd) Run() error { return nil }
