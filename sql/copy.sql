COPY %s (%s) FROM STDIN (FORMAT binary)
-- How a :copyfrom query goes over the wire. The store fills in table and columns from the query
-- that sqlc generated, and encodes the rows itself.
