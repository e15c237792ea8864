GRANT :rights ON :table TO :role
