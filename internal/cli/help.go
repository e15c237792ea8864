package cli

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/alecthomas/kong"

	"processor/internal/alike"
	"processor/internal/observe"
)

type helpCmd struct {
	Command []string `arg:"" optional:"" help:"The command, as in: dlq list. Without it all commands are listed."`
}

// Help is called by kong.
func (c *helpCmd) Help() string {
	return `Examples:
  processor help
  processor help dlq list`
}

// Run is never called: see asHelp.
func (c *helpCmd) Run() error { return errors.New("help takes no flags") }

// asHelp turns the command line "help dlq list" into "dlq list --help".
func asHelp(args []string) []string {
	if len(args) == 0 || args[0] != "help" || slices.Contains(args, "--help") {
		return args
	}
	return append(slices.Clone(args[1:]), "--help")
}

// versionFlag is --version, which every command has.
type versionFlag bool

// BeforeReset is called by kong before it looks at anything else.
func (versionFlag) BeforeReset(app *kong.Kong, build observe.BuildInfo, out Streams) error {
	if err := (&versionCmd{}).Run(build, out); err != nil {
		return err
	}
	app.Exit(ExitOK)
	return nil
}

// misspelt returns an error for the first command or flag on a command line that does not exist, with the names that may have
// been meant; nil where all exist.
func misspelt(app *kong.Application, args []string) error {
	node := app.Node
	for i := 0; i < len(args) && args[i] != "--"; i++ {
		name, isFlag := strings.CutPrefix(args[i], "--")
		switch {
		case isFlag:
			name, _, assigned := strings.Cut(name, "=")
			flags := flagsOf(node)
			at := slices.IndexFunc(flags, func(f *kong.Flag) bool { return f.Name == name })
			if at < 0 {
				return errors.New(`unknown flag ` + shown("--"+name) + didYouMean("--", name, flagNames(flags)))
			}
			if !flags[at].IsBool() && !assigned {
				i++ // its value
			}
		case strings.HasPrefix(name, "-"), len(node.Children) == 0:
		default:
			at := slices.IndexFunc(node.Children, func(c *kong.Node) bool { return c.Name == name })
			if at < 0 {
				return fmt.Errorf("unknown command %s%s; processor help lists all", shown(name), didYouMean("", name, commandNames(node)))
			}
			node = node.Children[at]
		}
	}
	return nil
}

// shown is a word of the command line in an error, short: it may be anything.
func shown(word string) string { return fmt.Sprintf("%q", shorten(word, 40)) }

// flagsOf lists the flags that may follow a command, those of its default command included.
func flagsOf(node *kong.Node) (all []*kong.Flag) {
	for _, group := range node.AllFlags(false) {
		all = append(all, group...)
	}
	if node.DefaultCmd != nil {
		all = append(all, node.DefaultCmd.Flags...)
	}
	return all
}

func flagNames(flags []*kong.Flag) (names []string) {
	for _, f := range flags {
		names = append(names, f.Name)
	}
	return names
}

// commandNames lists the commands below a node as they are typed, without the node's.
func commandNames(node *kong.Node) (names []string) {
	for _, child := range node.Children {
		names = append(names, child.Name)
	}
	for _, child := range node.Children {
		for _, below := range commandNames(child) {
			names = append(names, child.Name+" "+below)
		}
	}
	return names
}

// didYouMean is the end of an error about a name; empty where nothing is like it. A command below another is compared by its
// last word too.
func didYouMean(prefix, name string, candidates []string) string {
	whole := map[string]string{}
	var words []string
	for _, c := range candidates {
		word := c[strings.LastIndexByte(c, ' ')+1:]
		if _, taken := whole[word]; !taken {
			whole[word] = c
			words = append(words, word)
		}
	}
	found := alike.Closest(name, words)
	for i := range found {
		found[i] = prefix + whole[found[i]]
	}
	if len(found) == 0 {
		return ""
	}
	return ": did you mean " + strings.Join(found, " or ") + "?"
}
