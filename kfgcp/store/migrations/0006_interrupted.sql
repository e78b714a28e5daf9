-- Attempts that were under way when their engine went down: they do not count as failures when the run goes on.

CREATE TABLE interrupted (
  run_id TEXT NOT NULL REFERENCES runs ON DELETE CASCADE,
  path TEXT NOT NULL,
  attempt INTEGER NOT NULL,
  PRIMARY KEY (run_id, path, attempt)
) STRICT, WITHOUT ROWID;
