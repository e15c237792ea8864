package cli

type dlqCmd struct{}

// Run is called by kong.
func (c *dlqCmd) Run() error { return nil }
