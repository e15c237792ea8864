package bench

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

// scenario is one measurement of a round. It leaves r.rows rows in the table.
type scenario struct {
	name  string
	about string // one line of --help
	usual bool   // measured unless the options name others

	run     func(*runner, context.Context, measurements) error
	figures func(Options) []definition
	// needs reports what the servers lack for it; empty where they lack nothing, and nil where it needs nothing.
	needs func(context.Context, *runner) (string, error)
}

// scenarios returns all scenarios, in the order in which a round measures them and the report lists them.
func scenarios() []scenario {
	return []scenario{rawScenario(), drainScenario(), replayScenario(), lateScenario(), trickleScenario(), singleScenario(), stormScenario(), dumpScenario(), readingsScenario()}
}

// Names returns the names of all scenarios.
func Names() (names []string) {
	for _, s := range scenarios() {
		names = append(names, s.name)
	}
	return names
}

// Usual returns the names of the scenarios that are measured by default.
func Usual() (names []string) {
	for _, s := range scenarios() {
		if s.usual {
			names = append(names, s.name)
		}
	}
	return names
}

// Explain returns a line for each scenario: its name and what it measures.
func Explain() string {
	var b strings.Builder
	for _, s := range scenarios() {
		fmt.Fprintf(&b, "  %-9s %s\n", s.name, s.about)
	}
	return b.String()
}

// ownDatabaseNeeded is for scenarios that need the settings of serverConf or create a table.
func ownDatabaseNeeded(_ context.Context, r *runner) (string, error) {
	if r.servers.ownDatabase() {
		return "", nil
	}
	return "needs a disposable PostgreSQL server", nil
}

// chosen returns the scenarios of the options, in the order of scenarios.
func (o Options) chosen() (chosen []scenario) {
	for _, s := range scenarios() {
		if slices.Contains(o.Scenarios, s.name) {
			chosen = append(chosen, s)
		}
	}
	return chosen
}

// definitions returns the figures of the chosen scenarios, in the order of the report.
func (o Options) definitions() (all []definition) {
	for _, s := range o.chosen() {
		all = append(all, s.figures(o)...)
	}
	return all
}

// Skipped is a scenario that was chosen and cannot be measured on these servers.
type Skipped struct {
	Scenario string `json:"scenario"`
	Reason   string `json:"reason"`
}

// possible splits the chosen scenarios into those that these servers allow and those that they do not.
func (r *runner) possible(ctx context.Context) (possible []scenario, skipped []Skipped, err error) {
	for _, s := range r.opts.chosen() {
		lack := ""
		if s.needs != nil {
			if lack, err = s.needs(ctx, r); err != nil {
				return nil, nil, err
			}
		}
		if lack != "" {
			skipped = append(skipped, Skipped{s.name, lack})
			continue
		}
		possible = append(possible, s)
	}
	return possible, skipped, nil
}
