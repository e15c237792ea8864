// Package observe is what the outside sees of the service: its log, its metrics with the ledger of
// positions, its health and the HTTP server that shows them.
//
// It knows nothing of Redis, PostgreSQL or the pipeline. They report here, or hand in a probe.
package observe
