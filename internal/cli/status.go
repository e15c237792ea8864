package cli

type statusCmd struct{}

// Run is called by kong.
func (c *statusCmd) Run() error { return nil }
