package store

// SQLSTATEs that this package treats by name (PostgreSQL documentation, appendix A).
const (
	protocolViolation          = "08P01"
	invalidBinary              = "22P03" // invalid_binary_representation
	notNullViolation           = "23502"
	foreignKeyViolation        = "23503"
	uniqueViolation            = "23505"
	checkViolation             = "23514"
	readOnlyTransaction        = "25006" // read_only_sql_transaction
	transactionTimeout         = "25P04"
	invalidStatementName       = "26000" // no such prepared statement
	invalidCatalogName         = "3D000" // no such database
	invalidSchemaName          = "3F000"
	serializationFailure       = "40001"
	deadlockDetected           = "40P01"
	insufficientPrivilege      = "42501"
	undefinedColumn            = "42703"
	undefinedTable             = "42P01"
	duplicatePreparedStatement = "42P05"
	invalidColumnReference     = "42P10"
	insufficientResources      = "53000"
	diskFull                   = "53100"
	outOfMemory                = "53200"
	tooManyConnections         = "53300"
	configurationLimitExceeded = "53400"
	lockNotAvailable           = "55P03"
	queryCanceled              = "57014"
	adminShutdown              = "57P01"
	crashShutdown              = "57P02"
	cannotConnectNow           = "57P03"
)
