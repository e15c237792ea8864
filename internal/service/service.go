// Package service assembles the worker: it opens what the pipeline needs, runs it beside the
// HTTP server and the health checks, and closes everything in order.
package service

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"

	"processor/internal/device"
	"processor/internal/observe"
	"processor/internal/pipeline"
	"processor/internal/position"
	"processor/internal/schema"
	"processor/internal/store"
	"processor/internal/stream"
	"processor/internal/transport"
)

// Service is a worker that has been assembled. Its fields may be read while it runs.
type Service struct {
	Ledger   *observe.Ledger
	Devices  *device.Cache
	Store    *store.Store
	Registry *prometheus.Registry
	Health   *observe.Health

	config   Config
	logger   *slog.Logger
	server   *observe.Server
	profiles *observe.Server // nil unless it is asked for
	redis    redis.UniversalClient
	pipeline *pipeline.Pipeline
	schema   schemaProbe
}

// New binds the HTTP address and prepares everything else, without waiting for a server: Redis
// and PostgreSQL may still be down. The config must have been resolved. Either Run or Close
// must follow.
func New(ctx context.Context, config Config, build observe.BuildInfo, logger *slog.Logger) (*Service, error) {
	server, err := observe.Listen(config.HTTPAddr, "--http-addr or HTTP_ADDR")
	if err != nil {
		return nil, err
	}
	var profiles *observe.Server
	if config.PprofAddr != "" {
		if profiles, err = observe.Listen(config.PprofAddr, "--pprof-addr or PPROF_ADDR"); err != nil {
			return nil, errors.Join(err, server.Close())
		}
	}
	s := &Service{
		Ledger:   observe.NewLedger(),
		Registry: prometheus.NewRegistry(),
		config:   config,
		logger:   logger,
		server:   server,
		profiles: profiles,
		schema:   schemaProbe{logger: logger, passed: make(chan struct{})},
	}
	if err := s.open(ctx, build); err != nil {
		return nil, errors.Join(err, s.closeServers())
	}
	return s, nil
}

func (s *Service) closeServers() error {
	if s.profiles == nil {
		return s.server.Close()
	}
	return errors.Join(s.server.Close(), s.profiles.Close())
}

func (s *Service) open(ctx context.Context, build observe.BuildInfo) error {
	metrics, err := observe.NewMetrics(s.Registry, build, s.Ledger)
	if err != nil {
		return err
	}
	if s.Devices, err = device.New(s.config.DeviceCacheSize); err != nil {
		return err
	}
	if err := metrics.ObserveDevices(s.Devices.Len, s.Devices.Evictions); err != nil {
		return err
	}
	s.Health = observe.NewHealth([]observe.Probe{
		{Name: "redis", Check: func(ctx context.Context) error { return stream.Ping(ctx, s.redis, s.config.Streams...) }},
		{Name: "postgres", Check: func(ctx context.Context) error { return answers(s.Store.Ping(ctx)) }},
		{Name: "schema", NeedsAnswer: true, Check: func(ctx context.Context) error { return s.schema.check(ctx, s.Store) }},
	}, observe.HealthOptions{Logger: s.logger})
	if err := s.Registry.Register(s.Health); err != nil {
		return fmt.Errorf("register health metrics: %w", err)
	}
	redisURL := watched(s.config.Redis.URLFile, s.config.Redis.URL, checkRedis, s.logger)
	if s.redis, err = stream.ConnectWith(s.config.Redis.URL, redisURL); err != nil {
		return fmt.Errorf("read the Redis URL: %w", err)
	}
	stream.Name(s.redis, stream.ClientName{
		Group: s.config.Group, Consumer: s.config.Consumer, Streams: s.config.Streams, Instance: rand.Text()[:8],
	})
	s.Store, err = store.Open(ctx, s.config.Database.URL, store.Options{
		Writers:      pipeline.Writers(Writers(s.config.Writers), len(s.config.Streams)),
		WriteTimeout: s.config.WriteTimeout,
		CurrentURL:   watched(s.config.Database.URLFile, s.config.Database.URL, checkDatabase, s.logger),
		Prepare:      schema.Prepare,
		Events:       storeEvents(metrics, s.Health, s.logger),
	})
	if err != nil {
		return errors.Join(err, s.redis.Close())
	}
	s.pipeline = &pipeline.Pipeline{
		Options: pipeline.Options{
			Writers:         Writers(s.config.Writers),
			BatchSize:       s.config.BatchSize,
			BatchBytes:      s.config.BatchBytes,
			Linger:          s.config.Linger,
			ClaimIdle:       s.config.ClaimIdle,
			MaxDeliveries:   s.config.MaxDeliveries,
			Window:          position.Window{MaxAge: s.config.MaxAge, MaxFuture: s.config.MaxFuture},
			ShutdownTimeout: s.config.ShutdownTimeout,
		},
		Store:   s.Store,
		Devices: s.Devices,
		Ledger:  s.Ledger,
		Metrics: metrics,
		Health:  s.Health,
		Logger:  s.logger,
		Ready:   s.schema.passed,
	}
	for _, name := range s.config.Streams {
		consumer := stream.NewConsumer(s.redis, name, s.config.Group, s.config.Consumer)
		consumer.MaxEntry = s.config.MaxEntryBytes
		s.pipeline.Consumers = append(s.pipeline.Consumers, consumer)
	}
	return nil
}

// OnStep sets what is called after each step of every batch. Before Run; for fault tests.
func (s *Service) OnStep(call func(pipeline.Step)) { s.pipeline.OnStep = call }

// Listen has a listener told of committed rows. The name is a label of metrics. Before Run; for domain logic.
func (s *Service) Listen(name string, l pipeline.Listener) {
	if s.pipeline.Listeners == nil {
		s.pipeline.Listeners = map[string]pipeline.Listener{}
	}
	s.pipeline.Listeners[name] = l
}

// Addr is the address that the HTTP server is bound to.
func (s *Service) Addr() string { return s.server.Addr() }

// Run works until ctx ends, finishes what is in flight, logs the ledger and closes everything.
func (s *Service) Run(ctx context.Context) error {
	s.logger.Info("started",
		"redis", observe.Redact(s.config.Redis.URL), "database", observe.Redact(s.config.Database.URL),
		"streams", s.config.Streams, "group", s.config.Group, "consumer", s.config.Consumer,
		"http", s.Addr())
	s.warnOfTransport()

	// Probes and metrics stay up while the last batches finish.
	around, stopAround := context.WithCancel(context.WithoutCancel(ctx))
	var wg sync.WaitGroup
	var serveErr, profileErr error
	wg.Go(func() { s.Health.Run(around) })
	wg.Go(func() {
		serveErr = s.server.Serve(around, observe.Handler(s.Registry, s.Health), s.logger)
	})
	if s.profiles != nil {
		wg.Go(func() { profileErr = s.profiles.Serve(around, observe.ProfileHandler(), s.logger) })
	}
	s.pipeline.Run(ctx)
	stopAround()
	wg.Wait()
	// Before closing: a server that hangs may hold that up until the process is killed.
	s.logger.Info("stopped", "ledger", s.Ledger.Snapshot())
	s.Store.Close()
	return errors.Join(serveErr, profileErr, s.redis.Close())
}

// warnOfTransport logs which connections others in the network can read or answer.
func (s *Service) warnOfTransport() {
	var attributes []any
	add := func(server string, problem *transport.Problem) {
		if problem != nil {
			attributes = append(attributes, slog.Group(server, "problem", problem.Text, "hint", problem.Fix))
		}
	}
	add("redis", transport.Redis(s.config.Redis.URL))
	add("postgres", transport.Postgres(s.config.Database.URL))
	if len(attributes) > 0 {
		s.logger.Warn("connections are not protected by verified TLS", attributes...)
	}
}

// Close releases a Service that is not to be run.
func (s *Service) Close() error {
	s.Store.Close()
	return errors.Join(s.closeServers(), s.redis.Close())
}
