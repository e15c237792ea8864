package faultkit

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// soakWorkers and soakStreams are the size of the soak.
const soakWorkers, soakStreams = 3, 2

// action is one step of a soak. A fault uses the fields that it needs.
type action struct {
	Fault  string
	Worker int
	Stream int
	// Odd picks between two forms of the fault.
	Odd bool
	// Back is a number of entries, for XGROUP SETID.
	Back int
	// Hold is how long the fault lasts. Other actions take place meanwhile.
	Hold time.Duration
	// Wait is the time until the next action.
	Wait time.Duration
	// Setup is that of the worker where the action starts one.
	Setup setup
}

// setup is what differs from worker to worker.
type setup struct {
	BatchSize  int
	BatchBytes int
	Linger     time.Duration
	Writers    int
}

func (a action) String() string {
	return fmt.Sprintf("%-28s worker %d stream %d odd %-5t back %3d hold %-6v then wait %-6v setup %+v",
		a.Fault, a.Worker, a.Stream, a.Odd, a.Back, a.Hold, a.Wait, a.Setup)
}

// choice is a fault that a plan may choose, and how often.
type choice struct {
	name   string
	weight int
}

// plan returns actions that take at least so long. It depends on its arguments alone.
func plan(seed uint64, choices []choice, length time.Duration) []action {
	rng := rand.New(rand.NewPCG(seed, uint64(len(choices))))
	total := 0
	for _, c := range choices {
		total += c.weight
	}
	var actions []action
	for planned := time.Duration(0); planned < length; {
		a := action{
			Fault:  choose(rng.IntN(total), choices),
			Worker: rng.IntN(soakWorkers),
			Stream: rng.IntN(soakStreams),
			Odd:    rng.IntN(2) == 1,
			Back:   1 + rng.IntN(400),
			Hold:   time.Duration(100+rng.IntN(3500)) * time.Millisecond,
			Wait:   time.Duration(rng.IntN(700)) * time.Millisecond,
			Setup:  randomSetup(rng),
		}
		actions = append(actions, a)
		planned += a.Wait
	}
	return actions
}

func choose(n int, choices []choice) string {
	for _, c := range choices {
		if n -= c.weight; n < 0 {
			return c.name
		}
	}
	panic("n is not below the sum of the weights")
}

func randomSetup(rng *rand.Rand) setup {
	return setup{
		BatchSize:  pick(rng, 1, 7, 100, 1000, 2500),
		BatchBytes: pick(rng, 64<<10, 16<<20),
		Linger:     pick(rng, 0, time.Millisecond, 5*time.Millisecond, 100*time.Millisecond),
		Writers:    pick(rng, 1, 2, 4),
	}
}

func pick[T any](rng *rand.Rand, from ...T) T { return from[rng.IntN(len(from))] }

// TestPlan_ComesFromTheSeedAlone: the same seed gives the same plan, another one another plan, and
// a longer run begins with the shorter one. In the long run each fault comes as often as it weighs.
func TestPlan_ComesFromTheSeedAlone(t *testing.T) {
	t.Parallel()
	choices := []choice{{"one", 1}, {"three", 3}, {"never", 0}}
	actions := plan(7, choices, time.Minute)
	require.Equal(t, actions, plan(7, choices, time.Minute))
	require.NotEqual(t, actions, plan(8, choices, time.Minute))
	short := plan(7, choices, time.Second)
	require.Equal(t, short, actions[:len(short)])

	counts := map[string]int{}
	for _, a := range plan(7, choices, 100*time.Minute) {
		counts[a.Fault]++
	}
	require.Zero(t, counts["never"])
	require.InDelta(t, 3, float64(counts["three"])/float64(counts["one"]), 0.3)
	for _, c := range [][]choice{chaos(), gentle()} {
		require.NotEmpty(t, c)
		require.True(t, slices.ContainsFunc(c, func(c choice) bool { return c.weight > 0 }))
	}
}
