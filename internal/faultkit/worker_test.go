package faultkit

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"processor/internal/observe"
	"processor/internal/pipeline"
	"processor/internal/servertest"
	"processor/internal/service"
)

// workerVariable makes this test binary a worker. It holds an assignment as JSON.
const workerVariable = "FAULTKIT_WORKER"

// assignment is what a worker process is told.
type assignment struct {
	Config service.Config
	End    end
}

// end is when a worker sends itself a signal: at the N-th time that a batch has taken the step.
type end struct {
	Step   pipeline.Step
	N      int32
	Signal syscall.Signal
}

// dies ends the process as the kernel would.
func dies(step pipeline.Step, n int32) end { return end{step, n, syscall.SIGKILL} }

// hangs stops the process, with everything in flight.
func hangs(step pipeline.Step, n int32) end { return end{step, n, syscall.SIGSTOP} }

// work is the worker process: what `processor run` does, and the end that was assigned.
func work() int {
	var a assignment
	if err := json.Unmarshal([]byte(os.Getenv(workerVariable)), &a); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	s, err := service.New(ctx, a.Config, observe.BuildInfo{Version: "test"}, observe.NewLogger(os.Stderr, slog.LevelInfo))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	var taken atomic.Int32
	s.OnStep(func(step pipeline.Step) {
		if step == a.End.Step && taken.Add(1) == a.End.N {
			_ = syscall.Kill(os.Getpid(), a.End.Signal)
		}
	})
	if err := s.Run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// worker is a process that moves positions.
type worker struct {
	*Process
	t    testing.TB
	addr string
}

// startWorker starts one and returns when it serves HTTP.
func startWorker(t testing.TB, config service.Config, environ []string, ends ...end) *worker {
	t.Helper()
	a := assignment{Config: config}
	if len(ends) > 0 {
		a.End = ends[0]
	}
	text, err := json.Marshal(a)
	require.NoError(t, err)
	binary, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.Command(binary)
	// The race detector's runtime would wait a second before the process ends.
	cmd.Env = append(os.Environ(), workerVariable+"="+string(text), "GORACE=atexit_sleep_ms=0")
	cmd.Env = append(cmd.Env, environ...)
	return serving(t, Start(t, cmd))
}

// serving waits for the line that names the HTTP address.
func serving(t testing.TB, p *Process) *worker {
	t.Helper()
	w := &worker{Process: p, t: t}
	servertest.Until(t, "the worker serves HTTP", func() bool {
		w.addr = w.field("started", "http")
		require.True(t, w.addr != "" || w.Running(), w.Log())
		return w.addr != ""
	})
	return w
}

// lines are what the worker has logged with the message.
func (w *worker) lines(msg string) []map[string]any {
	var found []map[string]any
	for line := range strings.Lines(w.Log()) {
		var fields map[string]any
		if json.Unmarshal([]byte(line), &fields) == nil && fields["msg"] == msg {
			found = append(found, fields)
		}
	}
	return found
}

// field is a field of the last line with the message; empty where there is none.
func (w *worker) field(msg, name string) string {
	lines := w.lines(msg)
	if len(lines) == 0 {
		return ""
	}
	return fmt.Sprint(lines[len(lines)-1][name])
}

// get asks the worker; code 0 says that it does not answer.
func (w *worker) get(path string) (code int, body string) {
	resp, err := http.Get("http://" + w.addr + path)
	if err != nil {
		return 0, ""
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, ""
	}
	return resp.StatusCode, string(text)
}

func (w *worker) ready() bool {
	code, _ := w.get("/readyz")
	return code == http.StatusOK
}

// failing is the error of a check of /readyz; empty while it passes.
func (w *worker) failing(check string) string {
	_, body := w.get("/readyz")
	var r observe.Readiness
	if json.Unmarshal([]byte(body), &r) != nil {
		return ""
	}
	return r.Checks[check].Error
}

func (w *worker) alive() bool {
	code, _ := w.get("/healthz")
	return code == http.StatusOK
}

// metric sums up the series whose name begins so, over all of them where it names no label.
func (w *worker) metric(prefix string) float64 {
	_, text := w.get("/metrics")
	sum := 0.0
	for line := range strings.Lines(text) {
		series, value, ok := strings.Cut(strings.TrimSpace(line), " ")
		if !ok || series != prefix && !strings.HasPrefix(series, prefix+"{") {
			continue
		}
		n, err := strconv.ParseFloat(value, 64)
		require.NoError(w.t, err, line)
		sum += n
	}
	return sum
}

// ledger is the worker's own account.
type ledger struct {
	Read         int  `json:"read"`
	Inserted     int  `json:"inserted"`
	Merged       int  `json:"merged"`
	Unchanged    int  `json:"unchanged"`
	DeadLettered int  `json:"dead_lettered"`
	InFlight     int  `json:"in_flight"`
	Balanced     bool `json:"balanced"`
}

// stop ends the worker in order and returns its ledger, which must balance with nothing in
// flight.
func (w *worker) stop() ledger {
	w.t.Helper()
	w.end()
	l := w.ledger()
	require.Zero(w.t, l.InFlight, w.Log())
	return l
}

// end ends the worker in order.
func (w *worker) end() {
	w.t.Helper()
	w.Signal(syscall.SIGTERM)
	state := w.Wait()
	require.True(w.t, state.Success(), "%s\n%s", state, w.Log())
}

// ledger is the account that the worker gave when it stopped.
func (w *worker) ledger() ledger {
	w.t.Helper()
	require.NotContains(w.t, w.Log(), "DATA RACE")
	lines := w.lines("stopped")
	require.Len(w.t, lines, 1, w.Log())
	text, err := json.Marshal(lines[0]["ledger"])
	require.NoError(w.t, err)
	var l ledger
	require.NoError(w.t, json.Unmarshal(text, &l))
	require.True(w.t, l.Balanced, "%+v", l)
	return l
}

// dead waits until the worker was killed.
func (w *worker) dead() {
	w.t.Helper()
	state := w.Wait()
	status, ok := state.Sys().(syscall.WaitStatus)
	require.True(w.t, ok)
	require.Equal(w.t, syscall.SIGKILL, status.Signal(), "%s\n%s", state, w.Log())
	require.NotContains(w.t, w.Log(), "DATA RACE")
}
