// Package sql contains the service's SQL: the schema that it owns and every statement that it runs. sqlc
// generates package db from the queries; the migrations are embedded in the binary.
package sql

import "embed"

// Migrations holds migrations/*.sql, in dbmate's format.
//
//go:embed migrations/*.sql
var Migrations embed.FS

// Copy is copy.sql, which is sent as it is.
//
//go:embed copy.sql
var Copy string

// Readings is readings.sql: the table that `processor bench` compares positions with.
//
//go:embed readings.sql
var Readings string

// Grant is hints/grant.sql, which is never run: it is printed for the person who may.
//
//go:embed hints/grant.sql
var Grant string
