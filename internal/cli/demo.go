package cli

type demoCmd struct{}

// Run is called by kong.
func (c *demoCmd) Run() error { return nil }
