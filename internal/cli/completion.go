package cli

import (
	"github.com/alecthomas/kong"
	kongcompletion "github.com/jotaen/kong-completion"
	"github.com/posener/complete"
)

type completionCmd struct {
	Shell string `arg:"" enum:"bash,zsh,fish" help:"The shell: bash, zsh or fish."`
}

// Help is called by kong.
func (c *completionCmd) Help() string {
	return `The shell then completes commands, flags and some of their values. It asks the binary that printed this.

Examples:
  source <(processor completion bash)                 # for this shell; bash and zsh
  processor completion bash >> ~/.bashrc              # for good
  processor completion fish > ~/.config/fish/completions/processor.fish`
}

// Run is called by kong.
func (c *completionCmd) Run(ctx *kong.Context) error {
	printer := kongcompletion.Completion{Shell: c.Shell, Code: true}
	return printer.Run(ctx)
}

// answerShell answers where a shell asks by the environment variable COMP_LINE what could come next,
// and then calls exit: the program must not go on, or the TAB key would start a worker.
func answerShell(parser *kong.Kong, exit func(int)) {
	kongcompletion.Register(parser,
		kongcompletion.WithExitFunc(exit),
		kongcompletion.WithPredictor("reason", complete.PredictSet(reasonNames()...)),
		kongcompletion.WithPredictor("level", complete.PredictSet(levelNames()...)),
	)
}
