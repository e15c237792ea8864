package console_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	chromelog "github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"processor/internal/cli"
	"processor/internal/console"
	"processor/internal/fleet"
	"processor/internal/observe"
	"processor/internal/servertest"
	"processor/internal/stream"
)

// rig is a stream, a migrated database and a console that looks at them.
type rig struct {
	t                *testing.T
	client           redis.UniversalClient
	stream, database string
	console          *console.Server
}

func newRig(t *testing.T, change func(*console.Config)) *rig {
	return newRigOn(t, servertest.StreamName(t), change)
}

// newRigOn is newRig with a name for the stream.
func newRigOn(t *testing.T, name string, change func(*console.Config)) *rig {
	r := &rig{t: t, stream: name, database: servertest.Migrated(t)}
	var err error
	r.client, err = stream.Connect(servertest.Redis(t))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, r.client.Close()) })
	config := console.Config{Addr: "127.0.0.1:0", RedisURL: servertest.Redis(t), DatabaseURL: r.database, Streams: []string{r.stream}, Group: "processor"}
	if change != nil {
		change(&config)
	}
	r.console, err = console.New(config)
	require.NoError(t, err)
	r.background(func(ctx context.Context) error { return r.console.Run(ctx) })
	return r
}

// background runs a function until the test ends.
func (r *rig) background(run func(ctx context.Context) error) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(r.t.Context()))
	done := make(chan error, 1)
	go func() { done <- run(ctx) }()
	r.t.Cleanup(func() {
		cancel()
		require.NoError(r.t, <-done)
	})
}

// work runs a worker until the test ends.
func (r *rig) work() {
	var logs servertest.Log
	args := []string{"run", "--http-addr=127.0.0.1:0", "--redis-url=" + servertest.Redis(r.t), "--database-url=" + r.database, "--redis-stream=" + r.stream, "--redis-consumer=worker-1"}
	r.background(func(ctx context.Context) error {
		if code := cli.Main(ctx, args, observe.BuildInfo{}, cli.Streams{Out: &logs, Err: &logs}); code != cli.ExitOK {
			return fmt.Errorf("the worker ended with %d: %s", code, logs.String())
		}
		return nil
	})
}

// drive publishes a fleet's positions until the test ends.
func (r *rig) drive(devices int, rate float64) {
	publisher := fleet.NewPublisher(r.client, r.stream, 100_000)
	vehicles := fleet.New(fleet.Options{Devices: devices, Seed: 1, Start: time.Now()})
	r.background(func(ctx context.Context) error {
		if err := publisher.Run(ctx, vehicles, fleet.Pace{Rate: rate}); ctx.Err() == nil {
			return err
		}
		return nil
	})
}

// bury adds a dead letter.
func (r *rig) bury(reason, detail, device, payload string) string {
	r.t.Helper()
	id, err := r.client.XAdd(r.t.Context(), &redis.XAddArgs{Stream: stream.DeadKey(r.stream), Values: []any{"device_id", device, "payload", payload,
		stream.FieldReason, reason, stream.FieldDetail, detail, stream.FieldSourceID, "1764036553000-0", stream.FieldTime, "2026-11-27T10:03:05Z"}}).Result()
	require.NoError(r.t, err)
	return id
}

// browser is a tab of a headless Chromium with the page open.
type browser struct {
	t   *testing.T
	ctx context.Context

	mu       sync.Mutex
	problems []string
}

func (r *rig) open(width, height int) *browser {
	r.t.Helper()
	b := r.start()
	b.do(emulation.SetDeviceMetricsOverride(int64(width), int64(height), 1, false), chromedp.Navigate(r.console.URL()))
	b.until("live", `document.getElementById("live-text").textContent === "live" && document.querySelectorAll("#verdicts li").length > 0`)
	return b
}

// start starts a browser with an empty page.
func (r *rig) start() *browser {
	r.t.Helper()
	profile, err := os.MkdirTemp("", "console-test-")
	require.NoError(r.t, err)
	// Processes of a browser that has ended may still write.
	r.t.Cleanup(func() {
		servertest.Until(r.t, "the profile is removed", func() bool { return os.RemoveAll(profile) == nil })
	})
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.NoSandbox, chromedp.DisableGPU,
		chromedp.Flag("disable-background-networking", true), chromedp.UserDataDir(profile), chromedp.WSURLReadTimeout(time.Minute))
	parent, cancel := context.WithTimeout(context.WithoutCancel(r.t.Context()), 3*time.Minute)
	r.t.Cleanup(cancel)
	allocator, stop := chromedp.NewExecAllocator(parent, options...)
	r.t.Cleanup(stop)
	ctx, end := chromedp.NewContext(allocator)
	r.t.Cleanup(end)
	b := &browser{t: r.t, ctx: ctx}
	chromedp.ListenTarget(ctx, b.listen)
	b.do(chromelog.Enable())
	r.t.Cleanup(func() { _ = chromedp.Cancel(ctx) }) // waits for the end of the process
	return b
}

// listen collects what a developer would see in red.
func (b *browser) listen(event any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch e := event.(type) {
	case *runtime.EventExceptionThrown:
		b.problems = append(b.problems, e.ExceptionDetails.Error())
	case *runtime.EventConsoleAPICalled:
		if e.Type == runtime.APITypeError || e.Type == runtime.APITypeWarning || e.Type == runtime.APITypeAssert {
			b.problems = append(b.problems, fmt.Sprintf("console.%s: %v", e.Type, e.Args))
		}
	case *chromelog.EventEntryAdded:
		if e.Entry.Level != chromelog.LevelError && e.Entry.Level != chromelog.LevelWarning {
			return
		}
		b.problems = append(b.problems, fmt.Sprintf("%s: %s %s", e.Entry.Level, e.Entry.Text, e.Entry.URL))
	case *page.EventJavascriptDialogOpening:
		go func() { _ = chromedp.Run(b.ctx, page.HandleJavaScriptDialog(true)) }()
	}
}

// clean requires that nothing went wrong in the page so far.
func (b *browser) clean() {
	b.t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	require.Empty(b.t, b.problems)
}

func (b *browser) do(actions ...chromedp.Action) {
	b.t.Helper()
	require.NoError(b.t, chromedp.Run(b.ctx, actions...))
}

// eval returns what an expression is.
func eval[T any](b *browser, expression string) (value T) {
	b.t.Helper()
	b.do(chromedp.Evaluate(expression, &value))
	return value
}

// evalAsync returns what the promise of an expression becomes.
func evalAsync[T any](b *browser, expression string) (value T) {
	b.t.Helper()
	b.do(chromedp.Evaluate(expression, &value, func(p *runtime.EvaluateParams) *runtime.EvaluateParams { return p.WithAwaitPromise(true) }))
	return value
}

// until waits until an expression is true.
func (b *browser) until(what, expression string) {
	b.t.Helper()
	servertest.Until(b.t, what, func() bool {
		is := false
		b.do(chromedp.Evaluate("Boolean("+expression+")", &is))
		return is
	})
}

func (b *browser) text(selector string) string {
	b.t.Helper()
	return eval[string](b, fmt.Sprintf("[...document.querySelectorAll(%q)].map(n => n.textContent).join(' | ')", selector))
}

func TestPage_FiguresMove(t *testing.T) {
	r := newRig(t, func(c *console.Config) { c.ShowPositions = true })
	r.work()
	r.drive(20, 200)
	r.bury("not_json", "unexpected byte", "dev-1", "{")
	b := r.open(1400, 1000)
	b.until("entries are added", `/^[1-9]\d*\/s$/.test(document.querySelector('[data-f="added"]').textContent)`)
	b.until("rows are counted", `/^[1-9]/.test(document.querySelector('[data-f="rows"]').textContent)`)
	rows := b.text(`[data-f="rows"]`)
	b.until("the rows move", fmt.Sprintf(`document.querySelector('[data-f="rows"]').textContent !== %q`, rows))
	b.until("the verdict is OK", `document.querySelector("#verdicts li.ok b")?.textContent === "OK"`)
	b.until("a chart has a line", `(document.querySelector(".chart .stroke").getAttribute("d") ?? "").split("L").length > 1`)
	b.until("the newest row is recent", `/^newest [0-9.]+ (ms|s) ago$/.test(document.querySelector('[data-f="newest"]').textContent)`)
	b.until("checks are made", `document.querySelectorAll("#check-ok-list li").length > 3`)
	require.Equal(t, "1", b.text(`[data-f="dead"]`))
	require.Contains(t, b.text("#stream-list"), "worker-1")
	require.Contains(t, b.text("#servers"), "PostgreSQL answers")
	require.True(t, eval[bool](b, `[...document.querySelectorAll(".arrow.moving")].length >= 2`))

	// The map: the fleet, then a device's track from the table.
	b.do(chromedp.ScrollIntoView("#map-canvas", chromedp.ByQuery))
	b.until("the fleet is on the map", `document.getElementById("map-note").textContent.startsWith("20 devices")`)
	device := servertest.Ask(t, r.database, "SELECT device_id FROM positions LIMIT 1")[0]
	b.do(chromedp.SendKeys("#map-device", device+kb.Enter, chromedp.ByQuery))
	b.until("the track is on the map", `/^[1-9]\d* fixes, the last/.test(document.getElementById("map-note").textContent)`)
	require.True(t, eval[bool](b, `(() => { const c = document.getElementById("map-canvas"); const d = c.getContext("2d").getImageData(0, 0, c.width, c.height).data;
		const seen = new Set(); for (let i = 0; i < d.length; i += 4) seen.add(d[i] << 16 | d[i+1] << 8 | d[i+2]); return seen.size > 20; })()`), "the canvas has more than one colour")

	// The trace box finds the device's row.
	b.do(chromedp.SendKeys("#trace-what", device+kb.Enter, chromedp.ByQuery))
	b.until("the position is found", `document.querySelector("#trace-result li.row") !== null`)
	require.Contains(t, b.text("#trace-result"), "device "+device)
	b.clean()
}

// PostgreSQL goes away: the page says so.
func TestPage_ShowsAnOutage(t *testing.T) {
	postgres := servertest.NewPostgres(t)
	r := newRig(t, func(c *console.Config) { c.DatabaseURL = postgres.URL("postgres") })
	b := r.open(1400, 1000)
	b.until("PostgreSQL answers", `document.getElementById("servers").textContent.includes("PostgreSQL answers")`)
	require.NoError(t, postgres.Stop(t.Context()))
	b.until("PostgreSQL is red", `document.querySelector("#servers .failed")?.textContent.includes("PostgreSQL does not answer")`)
	b.until("the check has a fix", `document.querySelector("#check-list li.failed .fix") !== null`)
	require.True(t, eval[bool](b, `document.getElementById("node-rows").classList.contains("bad")`))
	b.clean()
}

const hostileText = "<script>document.title='pwned'</script><img src=x onerror=\"document.title='pwned'\">\x1b[2J\x1b[31mred\u202eevil\u0000</td></pre>&lt;b&gt;"

func TestPage_ShowsHostileTextAsText(t *testing.T) {
	r := newRig(t, func(c *console.Config) { c.ShowPositions = true })
	hostile := strings.ReplaceAll(hostileText, "\u0000", "")
	r.bury(hostile, "detail "+hostile, "device "+hostile, "payload "+hostile+"\xff\xfe")
	r.bury("wrong_type", "latitude: wrong_type: string instead of number", "dev-1", `{"device_id":"`+strings.NewReplacer(`"`, `'`, "\x1b", "").Replace(hostile)+`","latitude":"</pre><script>document.title='pwned'</script>"}`)
	_, err := r.client.XGroupCreateMkStream(r.t.Context(), r.stream, "processor", "0").Result()
	require.NoError(t, err)
	require.NoError(t, r.client.XGroupCreateConsumer(t.Context(), r.stream, "processor", "consumer "+hostile).Err())
	b := r.open(1400, 1000)
	b.until("both are listed", `document.querySelectorAll("#letter-rows tr").length === 2`)
	b.until("the consumer is listed", `document.getElementById("stream-list").textContent.includes("consumer <script>")`)
	for i, mark := range []string{"payload <script>", "latitude"} {
		b.do(chromedp.Evaluate(fmt.Sprintf(`document.querySelectorAll("#letter-rows .pick")[%d].click()`, 1-i), nil))
		b.until("the payload is shown", fmt.Sprintf(`document.querySelector("#letter pre")?.textContent.includes(%q)`, mark))
		require.Contains(t, b.text("#letter pre"), "<script>document.title='pwned'</script>")
		if i == 0 {
			require.Contains(t, b.text("#letter"), `\u001b[2J`)
			require.Contains(t, b.text("#letter"), `\u202eevil`)
		}
	}
	require.Contains(t, b.text("#letter pre .at"), `"device_id"`, "the key at fault is marked")
	b.do(chromedp.SendKeys("#trace-what", "<img src=x onerror=alert(1)>"+kb.Enter, chromedp.ByQuery))
	b.until("nothing is found", `document.querySelector("#trace-result li.not_found")?.textContent.includes("<img src=x")`)

	require.NotContains(t, eval[string](b, "document.title"), "pwned")
	require.Equal(t, 1, eval[int](b, `document.querySelectorAll("script").length`), "the page's own")
	require.Equal(t, 1, eval[int](b, `document.querySelectorAll("img").length`), "the page's own")
	require.False(t, eval[bool](b, `/[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069\ufeff]/.test(document.body.textContent)`))
	b.clean()
}

func TestPage_HidesPositionsAndChangesNothing(t *testing.T) {
	r := newRig(t, nil)
	id := r.bury("missing_key", "altitude: missing_key", "dev-1", `{"device_id":"dev-1","latitude":54.68721234}`)
	b := r.open(1400, 1000)
	b.until("it is listed", `document.querySelectorAll("#letter-rows tr").length === 1`)
	require.False(t, eval[bool](b, `[...document.querySelectorAll("button")].some(n => n.checkVisibility() && /replay/i.test(n.textContent))`))
	b.do(chromedp.Click("#letter-rows .pick", chromedp.ByQuery))
	b.until("it is open", `document.querySelector("#letter .locked") !== null`)
	require.Contains(t, b.text("#letter .fault"), "altitude: missing_key")
	b.do(chromedp.ScrollIntoView("#map-canvas", chromedp.ByQuery))
	b.until("the map says why it is empty", `document.getElementById("map-note").textContent.includes("--show-positions")`)
	require.NotContains(t, eval[string](b, "document.documentElement.outerHTML"), "54.68721234")
	require.Equal(t, "read-only", b.text("#mode-changes"))
	require.Equal(t, []string{id}, r.letters())
	b.clean()
}

// letters lists the ids of the dead letters.
func (r *rig) letters() []string {
	r.t.Helper()
	found, err := r.client.XRange(r.t.Context(), stream.DeadKey(r.stream), "-", "+").Result()
	require.NoError(r.t, err)
	ids := []string{}
	for _, m := range found {
		ids = append(ids, m.ID)
	}
	return ids
}

func TestPage_ReplaysWhereItMay(t *testing.T) {
	r := newRig(t, func(c *console.Config) { c.AllowChanges = true })
	const good = `{"device_id":"one","timestamp":"2026-11-27T09:00:00.000Z","latitude":1,"longitude":2,"altitude":3,"angle":4,"speed":5,"satellites":6,"priority":0}`
	r.bury("rejected_by_database", "23514", "one", good)
	r.bury("not_json", "bad", "two", "{")
	r.work()
	b := r.open(1400, 1000)
	b.until("both are listed", `document.querySelectorAll("#letter-rows tr").length === 2`)
	b.do(chromedp.Click("#replay-listed", chromedp.ByQuery))
	b.until("they were replayed", `document.getElementById("letters-note").textContent === "2 replayed: 1 row, 1 dead again"`)
	require.Equal(t, []string{"one"}, servertest.Ask(t, r.database, "SELECT device_id FROM positions"))
	require.Len(t, r.letters(), 1)
	b.clean()
}

func TestPage_AsksForTheToken(t *testing.T) {
	const token = "a-token-of-the-tests"
	r := newRig(t, func(c *console.Config) { c.Token = token })
	t.Cleanup(http.DefaultClient.CloseIdleConnections)
	for _, path := range []string{"api/state", "api/letters", "app.js"} {
		answer, err := http.Get(r.console.URL() + path) //nolint:noctx // a test
		require.NoError(t, err)
		require.Equal(t, http.StatusUnauthorized, answer.StatusCode)
		require.NoError(t, answer.Body.Close())
	}
	b := r.start()
	b.do(chromedp.Navigate(r.console.URL()))
	require.Contains(t, eval[string](b, "document.title"), "sign in")
	b.do(chromedp.SendKeys("#token", "something-else-here"+kb.Enter, chromedp.ByQuery))
	b.until("it was refused", `location.search === "?wrong" && document.readyState === "complete"`)
	b.do(chromedp.SendKeys("#token", token+kb.Enter, chromedp.ByQuery))
	b.until("the page is there", `document.getElementById("live-text")?.textContent === "live"`)
	require.False(t, eval[bool](b, `document.cookie.includes("processor")`), "scripts do not see the cookie")
	b.clean()
}

func (b *browser) press(key string) {
	b.t.Helper()
	b.do(chromedp.KeyEvent(key))
}

// What a screen reader is told of each part that takes the focus: its own text, its label or its aria-label.
const unnamed = `[...document.querySelectorAll("a[href], button, input, select, summary, [tabindex]:not([tabindex='-1'])")].filter(n => n.checkVisibility()).filter(n =>
	!(n.getAttribute("aria-label") || n.textContent.trim() && n.tagName !== "SELECT" || [...n.labels ?? []].some(l => l.textContent.trim()))).map(n => n.outerHTML)`

// contrast lists visible texts that have less than 4.5 : 1 against what is behind them (WCAG 2.2 AA).
const contrast = `(() => {
	const parse = (c) => { const m = c.match(/[\d.]+/g).map(Number); return [m[0], m[1], m[2], m[3] ?? 1]; };
	const over = (a, b) => a.slice(0, 3).map((v, i) => v * a[3] + b[i] * (1 - a[3]));
	const light = (c) => { const [r, g, b] = c.map(v => { v /= 255; return v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; }); return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
	const behind = (n) => { const layers = []; for (; n; n = n.parentElement) { const c = parse(getComputedStyle(n).backgroundColor); layers.push(c); if (c[3] === 1) break; }
		return layers.reverse().reduce((b, l) => over(l, b), [255, 255, 255]); };
	const bad = [];
	const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
	while (walk.nextNode()) {
		const n = walk.currentNode.parentElement;
		if (!walk.currentNode.textContent.trim() || !n.checkVisibility() || n.closest("script, option, .hidden, :disabled")) continue;
		const back = behind(n), front = over(parse(getComputedStyle(n).color), back);
		const [x, y] = [light(front), light(back)].sort((p, q) => q - p);
		if ((x + 0.05) / (y + 0.05) < 4.5) bad.push(walk.currentNode.textContent.trim().slice(0, 40) + " " + ((x + 0.05) / (y + 0.05)).toFixed(2));
	}
	return bad;
})()`

func TestPage_IsForKeyboardAndScreenReader(t *testing.T) {
	r := newRig(t, func(c *console.Config) { c.ShowPositions, c.AllowChanges = true, true })
	r.bury("not_json", "bad", "dev-1", "{")
	r.bury("missing_key", "latitude: missing_key", "dev-2", `{"device_id":"dev-2"}`)
	b := r.open(1400, 1000)
	b.until("the letters are listed", `document.querySelectorAll("#letter-rows tr").length === 2`)
	b.until("checks are made", `document.querySelectorAll("#check-ok-list li").length > 0`)

	b.press(kb.Tab)
	require.Equal(t, "Skip to content", eval[string](b, "document.activeElement.textContent"))
	require.NotEqual(t, "none", eval[string](b, "getComputedStyle(document.activeElement).outlineStyle"), "the focus is visible")
	b.press(kb.Enter)
	require.Equal(t, "main", eval[string](b, "document.activeElement.id"))

	// Tab leads to the first dead letter, Enter opens it, and the focus stays although the list is drawn anew.
	for range 40 {
		if b.press(kb.Tab); eval[bool](b, `document.activeElement.classList.contains("pick")`) {
			break
		}
	}
	id := eval[string](b, "document.activeElement.dataset.id ?? ''")
	require.NotEmpty(t, id, "Tab never reaches a dead letter")
	b.press(kb.Enter)
	b.until("it is open", `document.querySelector("#letter pre") !== null`)
	require.Equal(t, id, eval[string](b, "document.activeElement.dataset.id ?? ''"))
	b.do(chromedp.Focus("#map-canvas", chromedp.ByQuery))
	b.press(kb.ArrowLeft)
	b.press("+")

	require.Equal(t, "en", eval[string](b, "document.documentElement.lang"))
	require.Equal(t, 1, eval[int](b, `document.querySelectorAll("h1").length`))
	require.Equal(t, []int{1, 1, 1, 1}, eval[[]int](b, `["header", "nav", "main", "footer"].map(n => document.querySelectorAll(n).length)`))
	require.Empty(t, eval[[]string](b, `[...document.querySelectorAll("section")].filter(n => !document.getElementById(n.getAttribute("aria-labelledby"))?.textContent).map(n => n.id)`))
	require.Empty(t, eval[[]string](b, `[...document.querySelectorAll("table")].filter(n => !n.caption || [...n.querySelectorAll("th")].some(h => !h.scope)).map(n => n.outerHTML)`))
	require.Empty(t, eval[[]string](b, `[...document.querySelectorAll("svg, canvas")].filter(n => n.getAttribute("role") !== "img" || !n.getAttribute("aria-label")).map(n => n.outerHTML)`))
	require.Equal(t, eval[int](b, `document.querySelectorAll("[id]").length`), eval[int](b, `new Set([...document.querySelectorAll("[id]")].map(n => n.id)).size`), "ids are unique")
	require.Empty(t, eval[[]string](b, unnamed))
	b.until("a change of the verdict is announced", `document.getElementById("announce").textContent.length > 0`)
	b.do(chromedp.Evaluate(`document.querySelectorAll("details").forEach(d => d.open = true)`, nil))
	for _, scheme := range []string{"light", "dark"} {
		b.do(emulation.SetEmulatedMedia().WithFeatures([]*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}))
		require.Empty(t, eval[[]string](b, contrast), scheme)
	}
	b.clean()
}

func TestPage_FitsNarrowScreens(t *testing.T) {
	long := strings.Repeat("long", 20)
	r := newRig(t, func(c *console.Config) { c.ShowPositions = true })
	r.bury("missing_key", "latitude: missing_key "+long, long, `{"device_id":"`+long+`"}`)
	_, err := r.client.XGroupCreateMkStream(t.Context(), r.stream, "processor", "0").Result()
	require.NoError(t, err)
	require.NoError(t, r.client.XGroupCreateConsumer(t.Context(), r.stream, "processor", "consumer-"+long).Err())
	b := r.open(400, 800)
	b.until("the letter is listed", `document.querySelectorAll("#letter-rows tr").length === 1`)
	b.do(chromedp.Click("#letter-rows .pick", chromedp.ByQuery))
	b.until("it is open", `document.querySelector("#letter pre") !== null`)
	b.until("checks are made", `document.querySelectorAll("#check-ok-list li").length > 0`)
	for _, width := range []int64{400, 320, 760, 1100} {
		b.do(emulation.SetDeviceMetricsOverride(width, 800, 1, false))
		require.Empty(t, eval[[]string](b, `[...document.querySelectorAll("main *, header *")].filter(n => n.checkVisibility() && !n.closest("nav, pre, .list, .hidden, .skip, svg, th") &&
			n.getBoundingClientRect().right > innerWidth + 1).map(n => n.tagName + "." + n.className + " " + n.textContent.slice(0, 40))`), "%d pixels", width)
		require.LessOrEqual(t, eval[int64](b, `document.scrollingElement.scrollWidth`), width)
	}
	// What a finger has to hit.
	b.do(emulation.SetDeviceMetricsOverride(400, 800, 1, true))
	require.Empty(t, eval[[]string](b, `[...document.querySelectorAll("button, input, select")].filter(n => n.checkVisibility() && n.getBoundingClientRect().height < 28).map(n => n.outerHTML)`))
	b.clean()
}

// A page of another site cannot use a console on this machine, whatever it sends.
func TestConsole_AnswersNoOtherSite(t *testing.T) {
	r := newRig(t, func(c *console.Config) { c.AllowChanges = true })
	id := r.bury("not_json", "bad", "dev-1", "{")
	evil := http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		_, _ = io.WriteString(w, "<!doctype html><title>evil</title>")
	})}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	served := make(chan error, 1)
	go func() { served <- evil.Serve(listener) }()
	t.Cleanup(func() { require.NoError(t, evil.Close()); <-served })
	b := r.open(800, 600)
	b.do(chromedp.Navigate("http://" + listener.Addr().String() + "/"))
	result := evalAsync[[]string](b, fmt.Sprintf(`(async () => {
		const results = [];
		const attempt = async (name, f) => { try { const r = await f(); results.push(name + " " + r.type + " " + r.status); } catch { results.push(name + " refused"); } };
		const url = %q;
		await attempt("read", () => fetch(url + "api/state"));
		await attempt("blind", () => fetch(url + "api/replay", {method: "POST", mode: "no-cors", body: JSON.stringify({stream: %q, ids: [%q]})}));
		await attempt("header", () => fetch(url + "api/replay", {method: "POST", headers: {"X-Console-Change": "x"}, body: "{}"}));
		return results;
	})()`, r.console.URL(), r.stream, id))
	require.Equal(t, []string{"read refused", "blind refused", "header refused"}, result)
	require.Equal(t, []string{id}, r.letters())
}
