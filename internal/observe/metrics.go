package observe

import (
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

const namespace = "processor"

// BuildInfo is what the binary was built from, for processor_build_info and `processor version`.
type BuildInfo struct {
	Version   string // a release tag, else what go build derives: a pseudo-version, or "(devel)"
	Commit    string // the VCS revision
	GoVersion string // as runtime.Version gives it
}

// Metrics are the instruments of the worker, in the namespace processor_ and in base units. A caller
// observes them directly; all are safe for concurrent use. Label values must be valid UTF-8 and
// bounded: never a device.
//
// A counter with a label shows no series before its first use. The package that owns the closed set of values
// (error classes, reasons of dead letters, paths of a write) calls WithLabelValues once for each at the start, so that
// rate() sees the first increment; SetStream does it for the stream labels.
type Metrics struct {
	BatchPositions prometheus.Histogram     // positions handed to one write
	BatchWrite     *prometheus.HistogramVec // {path}: seconds
	WriteErrors    *prometheus.CounterVec   // {class}
	BatchesHeld    *prometheus.GaugeVec     // {class}
	CommitUnknown  prometheus.Counter
	AckErrors      prometheus.Counter
	DeadLetters    *prometheus.CounterVec // {reason}
	Claimed        prometheus.Counter
	GroupRecreated *prometheus.CounterVec // {stream}
	TrimmedUnread  *prometheus.CounterVec // {stream}
	LostPending    *prometheus.CounterVec // {stream}

	ListenerDropped *prometheus.CounterVec // {listener}: rows
	ListenerPanics  *prometheus.CounterVec // {listener}

	entryDelay, positionDelay prometheus.Histogram

	streamLag, streamPending, streamOldestPending, streamLength, streamAdded, deadLetterLength *prometheus.GaugeVec
	streamOldestUnread, streamCatchUp, streamTrimReaches, streamLastCommit                     *prometheus.GaugeVec

	reg prometheus.Registerer
}

// NewMetrics builds the instruments and registers them on reg, along with ledger and the Go and process
// collectors. It fails if reg already holds one of them; reg is then of no further use.
func NewMetrics(reg prometheus.Registerer, build BuildInfo, ledger *Ledger) (*Metrics, error) {
	m := &Metrics{
		BatchPositions: histogram("batch_positions",
			"Positions in one batch. Worry when it sits at --batch-size: the worker has a backlog.",
			prometheus.ExponentialBuckets(1, 2, 14)),
		BatchWrite: prometheus.NewHistogramVec(histogramOpts("batch_write_seconds",
			"Seconds to write and commit one batch, by path: copy (many fresh entries), insert (few fresh entries) or upsert (redelivered ones). Worry when p99 passes 1 s.",
			prometheus.ExponentialBuckets(0.0005, 2, 15)), []string{"path"}),
		WriteErrors: counterVec("write_errors_total",
			"Writes that failed, by class of the database error. Worry when any class keeps growing.", "class"),
		BatchesHeld: prometheus.NewGaugeVec(prometheus.GaugeOpts{Namespace: namespace, Name: "batches_held",
			Help: "Batches that are held and retried, by class of the last database error. Parked entries do not count. Worry when one stays above 0: nothing of them is stored."}, []string{"class"}),
		CommitUnknown: counter("commit_unknown_total",
			"Commits whose answer was lost on the wire; the batch was written again by upsert. Worry when it grows without a known outage."),
		AckErrors: counter("ack_errors_total",
			"Acknowledgements that failed and were tried again: XACK, or the script that adds dead letters and acknowledges them. Worry when it keeps growing: nothing more is read meanwhile, and entries may be delivered twice."),
		DeadLetters: counterVec("dead_letters_total",
			"Entries copied to the dead-letter stream, by reason. Worry at any growth: look with `processor dlq list`.", "reason"),
		Claimed: counter("claimed_total",
			"Pending entries taken over from another consumer by XAUTOCLAIM. Worry when it grows without a worker having ended."),
		GroupRecreated: counterVec("group_recreated_total",
			"Times the consumer group was gone and was created anew at 0. Worry at any growth: Redis was flushed, failed over or evicted the stream.", "stream"),
		TrimmedUnread: counterVec("trimmed_unread_total",
			"Entries trimmed from the stream before they were read. Worry at any growth: these positions are lost.", "stream"),
		LostPending: counterVec("lost_pending_total",
			"Pending entries whose payload was trimmed before they were written. Worry at any growth: these positions are lost.", "stream"),

		ListenerDropped: counterVec("listener_dropped_total",
			"Committed rows that a listener was not told of, because it had fallen behind or the worker stopped. Worry at any growth: the rows are stored, and what the listener makes of them has gaps.", "listener"),
		ListenerPanics: counterVec("listener_panics_total",
			"Calls of a listener that panicked. Worry at any growth: the rows are stored, and what the listener makes of them has gaps.", "listener"),

		entryDelay: histogram("entry_delay_seconds",
			"Seconds from XADD to commit, by the clocks of Redis and of this host. Worry when p99 passes 1 s without a backlog.",
			// Fine below 50 ms, where a worker without a backlog is: quantiles are read from it.
			[]float64{.001, .002, .003, .004, .005, .006, .008, .01, .012, .015, .02, .025, .03, .04, .05, .075, .1, .15, .25, .5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600}),
		positionDelay: histogram("position_delay_seconds",
			"Seconds from the tracker's fix to commit. Trackers send buffered fixes late; worry when the median grows while entry_delay_seconds does not: the delay is upstream.",
			[]float64{.1, .25, .5, 1, 2, 5, 10, 30, 60, 300, 900, 3600, 14400, 43200, 86400}),

		streamTrimReaches: streamGauge("stream_trim_reaches_unread_seconds",
			"Seconds until trimming reaches entries that were not read, at the present pace; absent where it will not, and until the stream is at the limit at which it is trimmed. Worry whenever it is there: add workers, or trim later."),
		streamLag: streamGauge("stream_lag",
			"Entries of the stream not yet delivered to the consumer group (XINFO GROUPS). Absent while Redis cannot tell. Worry when it keeps growing."),
		streamPending: streamGauge("stream_pending",
			"Entries delivered to the consumer group and not acknowledged. Worry when it exceeds what the workers hold in flight."),
		streamOldestPending: streamGauge("stream_oldest_pending_seconds",
			"Seconds since the oldest pending entry was added to the stream, 0 without one. It is long in a backlog too. Worry when it grows as fast as the clock: an entry is stuck."),
		streamLength: streamGauge("stream_length",
			"Entries in the stream, read or not (XLEN). Worry when it nears the limit at which the stream is trimmed."),
		streamAdded: streamGauge("stream_entries_added",
			"Entries ever added to the stream (entries-added of XINFO STREAM). Absent where the server does not tell. Worry while it is 0: the publisher uses another name."),
		streamOldestUnread: streamGauge("stream_oldest_unread_seconds",
			"Seconds since the oldest entry that is not yet delivered to the consumer group was added, 0 without one. Absent while Redis cannot tell. Worry when it keeps growing: what is stored is so old."),
		streamCatchUp: streamGauge("stream_catch_up_seconds",
			"Seconds until the lag is read at the pace of the last 15 s, 0 without a backlog. Absent where the lag does not become smaller or is not known. Worry when it is absent while stream_lag is high."),
		streamLastCommit: streamGauge("stream_last_commit_timestamp_seconds",
			"Unix time of the newest commit by this worker of a row from the stream. Absent before the first one. Worry when it stands still while stream_lag or stream_pending is above 0."),
		deadLetterLength: streamGauge("dead_letter_length",
			"Entries in the stream's dead-letter stream. Worry above 0: look with `processor dlq list`."),

		reg: reg,
	}
	buildInfo := prometheus.NewGauge(prometheus.GaugeOpts{
		Namespace: namespace,
		Name:      "build_info",
		Help:      "Always 1; the labels say what the binary was built from. Worry when replicas differ outside a rollout.",
		ConstLabels: prometheus.Labels{
			"version": build.Version, "revision": build.Commit, "goversion": build.GoVersion,
		},
	})
	buildInfo.Set(1)

	err := m.register(
		ledger, buildInfo,
		m.BatchPositions, m.BatchWrite, m.WriteErrors, m.BatchesHeld, m.CommitUnknown, m.AckErrors, m.DeadLetters, m.Claimed,
		m.GroupRecreated, m.TrimmedUnread, m.LostPending, m.ListenerDropped, m.ListenerPanics, m.entryDelay, m.positionDelay,
		m.streamLag, m.streamPending, m.streamOldestPending, m.streamLength, m.streamAdded, m.deadLetterLength,
		m.streamOldestUnread, m.streamCatchUp, m.streamTrimReaches, m.streamLastCommit,
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	if err != nil {
		return nil, err
	}
	return m, nil
}

// ObserveEntryDelay records the time from XADD to commit. A delay below zero, from clocks that disagree,
// counts as zero: it would make the histogram's sum fall.
func (m *Metrics) ObserveEntryDelay(d time.Duration) { m.entryDelay.Observe(max(d, 0).Seconds()) }

// ObservePositionDelay records the time from the fix to commit, with zero for a fix from the future.
func (m *Metrics) ObservePositionDelay(d time.Duration) { m.positionDelay.Observe(max(d, 0).Seconds()) }

// ObserveDevices registers the device cache's gauge and counter. The functions are called at each scrape
// and must be safe for concurrent use. It fails on a second call.
func (m *Metrics) ObserveDevices(length func() int, evictions func() uint64) error {
	return m.register(
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Namespace: namespace,
			Name:      "devices",
			Help:      "Devices in the cache. Worry when it reaches --device-cache-size and device_evictions_total grows.",
		}, func() float64 { return float64(length()) }),
		prometheus.NewCounterFunc(prometheus.CounterOpts{
			Namespace: namespace,
			Name:      "device_evictions_total",
			Help:      "Devices dropped from the full cache, least recently seen first. Worry when it keeps growing: raise --device-cache-size.",
		}, func() float64 { return float64(evictions()) }),
	)
}

// StreamStats is what Redis says of one stream and its consumer group.
type StreamStats struct {
	Length        int64         // entries in the stream (XLEN)
	Added         *int64        // entries ever added; nil where the server does not tell (XINFO STREAM)
	Lag           *int64        // entries not yet delivered; nil where Redis cannot tell (XINFO GROUPS)
	Pending       int64         // entries delivered and not acknowledged (XPENDING)
	OldestPending time.Duration // since the oldest pending entry was added; 0 without one
	DeadLetters   int64         // entries in the dead-letter stream
	// OldestUnread is the time since the oldest entry not yet delivered was added, 0 without one; nil where Redis cannot tell.
	OldestUnread *time.Duration
	// CatchUp is the time until the lag is read, 0 without a backlog; nil where it does not become smaller.
	CatchUp *time.Duration
	// TrimReaches is the time until trimming would reach unread entries; nil where it will not.
	TrimReaches *time.Duration
}

// SetStream sets the gauges of stream, and makes its counters exist. A nil pointer removes its
// series, so that "not known" is neither 0 nor -1.
func (m *Metrics) SetStream(stream string, s StreamStats) {
	m.streamLength.WithLabelValues(stream).Set(float64(s.Length))
	m.streamPending.WithLabelValues(stream).Set(float64(s.Pending))
	m.streamOldestPending.WithLabelValues(stream).Set(s.OldestPending.Seconds())
	m.deadLetterLength.WithLabelValues(stream).Set(float64(s.DeadLetters))
	for _, c := range []*prometheus.CounterVec{m.GroupRecreated, m.TrimmedUnread, m.LostPending} {
		c.WithLabelValues(stream)
	}
	setKnown(m.streamLag, stream, s.Lag)
	setKnown(m.streamAdded, stream, s.Added)
	setSeconds(m.streamOldestUnread, stream, s.OldestUnread)
	setSeconds(m.streamCatchUp, stream, s.CatchUp)
	setSeconds(m.streamTrimReaches, stream, s.TrimReaches)
}

// SetCommitted sets when a row from the stream was committed last.
func (m *Metrics) SetCommitted(stream string, at time.Time) {
	m.streamLastCommit.WithLabelValues(stream).Set(float64(at.UnixMilli()) / 1000)
}

func setSeconds(gauge *prometheus.GaugeVec, stream string, value *time.Duration) {
	if value == nil {
		gauge.DeleteLabelValues(stream)
		return
	}
	gauge.WithLabelValues(stream).Set(value.Seconds())
}

func setKnown(gauge *prometheus.GaugeVec, stream string, value *int64) {
	if value == nil {
		gauge.DeleteLabelValues(stream)
		return
	}
	gauge.WithLabelValues(stream).Set(float64(*value))
}

func (m *Metrics) register(cs ...prometheus.Collector) error {
	for _, c := range cs {
		if err := m.reg.Register(c); err != nil {
			return fmt.Errorf("register metrics: %w", err)
		}
	}
	return nil
}

func histogramOpts(name, help string, buckets []float64) prometheus.HistogramOpts {
	return prometheus.HistogramOpts{Namespace: namespace, Name: name, Help: help, Buckets: buckets}
}

func histogram(name, help string, buckets []float64) prometheus.Histogram {
	return prometheus.NewHistogram(histogramOpts(name, help, buckets))
}

func counter(name, help string) prometheus.Counter {
	return prometheus.NewCounter(prometheus.CounterOpts{Namespace: namespace, Name: name, Help: help})
}

func counterVec(name, help, label string) *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: namespace, Name: name, Help: help}, []string{label})
}

func streamGauge(name, help string) *prometheus.GaugeVec {
	return prometheus.NewGaugeVec(prometheus.GaugeOpts{Namespace: namespace, Name: name, Help: help}, []string{"stream"})
}
