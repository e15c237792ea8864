package bench

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// startTimeout is how long a worker may take to become ready.
const startTimeout = 30 * time.Second

// application is the worker's application_name in PostgreSQL.
const application = "processor bench worker"

// worker is a child process that runs `processor run`.
type worker struct {
	cmd     *exec.Cmd
	client  *http.Client
	baseURL string        // of its HTTP server
	started time.Duration // from the fork to readiness
	ended   chan struct{} // closed when it has been reaped
	err     error         // how it ended; valid after ended is closed

	mu   sync.Mutex
	last string // last warning or error in its log
}

// startWorker starts a worker and returns when it is ready. The caller stops it.
func (r *runner) startWorker(ctx context.Context, consumer string, streams []string) (*worker, error) {
	environ, err := r.workerEnviron()
	if err != nil {
		return nil, err
	}
	w := &worker{
		cmd: exec.Command(r.opts.Executable, "run",
			"--redis-stream", strings.Join(streams, ","),
			"--redis-group", groupName,
			"--redis-consumer", consumer,
			"--batch-size", strconv.Itoa(r.opts.BatchSize),
			"--writers", strconv.Itoa(r.opts.Writers),
			"--http-addr", "127.0.0.1:0",
			"--log-level", "info"),
		client: &http.Client{Transport: &http.Transport{}, Timeout: 10 * time.Second},
		ended:  make(chan struct{}),
	}
	w.cmd.Env = environ
	w.cmd.SysProcAttr = sysProcAttr()
	stderr, err := w.cmd.StderrPipe()
	if err != nil {
		return nil, fmt.Errorf("start worker: %w", err)
	}
	began := time.Now()
	launched, address := make(chan error, 1), make(chan string, 1)
	go w.run(launched, stderr, address, r.log)
	if err := <-launched; err != nil {
		return nil, fmt.Errorf("start worker: %w", err)
	}
	if err := w.ready(ctx, address); err != nil {
		return nil, errors.Join(fmt.Errorf("start worker: %w", err), w.stop(ctx))
	}
	w.started = time.Since(began)
	return w, nil
}

// workerEnviron returns this process's environment with the URLs of the servers replaced, so that any
// other setting of the worker can be measured. URLs hold passwords, so they are not put on the command
// line.
func (r *runner) workerEnviron() ([]string, error) {
	databaseURL, err := url.Parse(r.servers.databaseURL)
	if err != nil {
		return nil, errors.New("not a database URL") // err holds the URL with its password
	}
	query := databaseURL.Query()
	query.Set("application_name", application)
	// In a libpq URL a plus sign does not mean a space.
	databaseURL.RawQuery = strings.ReplaceAll(query.Encode(), "+", "%20")

	environ := slices.DeleteFunc(os.Environ(), func(variable string) bool {
		return strings.HasPrefix(variable, "REDIS_") || strings.HasPrefix(variable, "DATABASE_")
	})
	return append(environ, "REDIS_URL="+r.servers.redisURL, "DATABASE_URL="+databaseURL.String()), nil
}

// run starts the process, reads its log and reaps it.
func (w *worker) run(launched chan<- error, stderr io.Reader, address chan<- string, progress *log.Logger) {
	defer close(w.ended)
	// Linux sends the parent-death signal when the thread that forked ends.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	err := w.cmd.Start()
	launched <- err
	if err != nil {
		return
	}
	w.readLog(stderr, address, progress)
	w.err = w.cmd.Wait()
}

// readLog sends the HTTP server's address from the worker's JSON log to address, and prints warnings,
// errors and lines that are not JSON.
func (w *worker) readLog(stderr io.Reader, address chan<- string, progress *log.Logger) {
	lines := bufio.NewScanner(stderr)
	for lines.Scan() {
		var line struct{ Level, HTTP string }
		err := json.Unmarshal(lines.Bytes(), &line)
		if err == nil && line.HTTP != "" {
			select {
			case address <- line.HTTP:
			default:
			}
		}
		if err == nil && (line.Level == "debug" || line.Level == "info") {
			continue
		}
		progress.Printf("worker: %s", lines.Bytes())
		w.mu.Lock()
		w.last = lines.Text()
		w.mu.Unlock()
	}
	_, _ = io.Copy(io.Discard, stderr) // the scanner stops at an overlong line; the worker must not block
}

// ready waits until /readyz answers 200.
func (w *worker) ready(ctx context.Context, address <-chan string) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	select {
	case a := <-address:
		w.baseURL = "http://" + a
	case <-w.ended:
		return w.failure()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for {
		body, err := w.get(ctx, "/readyz")
		if err == nil {
			return body.Close()
		}
		select {
		case <-tick.C:
		case <-w.ended:
			return w.failure()
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", context.Cause(ctx), err)
		}
	}
}

// get returns the body of a response with status 200. The caller closes it.
func (w *worker) get(ctx context.Context, path string) (io.ReadCloser, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, w.baseURL+path, nil)
	if err != nil {
		return nil, err
	}
	response, err := w.client.Do(request)
	if err != nil {
		return nil, err
	}
	if response.StatusCode != http.StatusOK {
		return nil, errors.Join(fmt.Errorf("GET %s: %s", path, response.Status), response.Body.Close())
	}
	return response.Body, nil
}

// failure returns an error with the worker's exit status and last warning. The worker must have ended.
func (w *worker) failure() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return fmt.Errorf("worker ended unexpectedly (%s); last warning or error: %s", w.cmd.ProcessState, w.last)
}

func (w *worker) signal(s syscall.Signal) error {
	if err := w.cmd.Process.Signal(s); err != nil {
		return fmt.Errorf("send %s to the worker: %w", s, err)
	}
	return nil
}

// stop sends SIGTERM, waits for the worker to end, and kills it after stopTimeout. It returns an error if
// the worker's exit status is not 0.
func (w *worker) stop(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
	defer cancel()
	defer w.client.CloseIdleConnections()
	_ = w.signal(syscall.SIGTERM) // fails if it has ended; w.err holds how
	_ = w.signal(syscall.SIGCONT) // a stopped process does not handle SIGTERM
	select {
	case <-w.ended:
	case <-ctx.Done():
		_ = w.cmd.Process.Kill()
		<-w.ended
	}
	if w.err != nil {
		return fmt.Errorf("worker: %w", w.err)
	}
	return nil
}
