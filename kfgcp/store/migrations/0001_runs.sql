-- Values that are JSON are kept as JSON text; times as RFC 3339 text in UTC, which sorts as time.

CREATE TABLE specs (
  version TEXT PRIMARY KEY,
  pipeline TEXT NOT NULL,
  pipeline_spec TEXT NOT NULL,
  added_at TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE runs (
  run_id TEXT PRIMARY KEY,
  env TEXT NOT NULL,
  backend TEXT NOT NULL,
  backend_ref TEXT,
  url TEXT,
  pipeline TEXT NOT NULL,
  version TEXT NOT NULL,
  experiment TEXT NOT NULL,
  name TEXT NOT NULL,
  state TEXT NOT NULL,
  created_at TEXT NOT NULL,
  started_at TEXT,
  ended_at TEXT,
  outputs TEXT NOT NULL DEFAULT '{}',
  error TEXT,
  request TEXT NOT NULL DEFAULT '{}',  -- how it was submitted: what the engine needs beside spec and parameters
  cancel_requested_at TEXT,
  rev INTEGER NOT NULL DEFAULT 0       -- grows with each change of the run or of one of its tasks
) STRICT;

CREATE INDEX runs_created ON runs (created_at DESC, run_id);
CREATE INDEX runs_pipeline ON runs (pipeline, created_at DESC);
CREATE INDEX runs_experiment ON runs (experiment, created_at DESC);
CREATE INDEX runs_unfinished ON runs (state) WHERE state NOT IN ('SUCCEEDED', 'FAILED', 'CANCELLED');

CREATE TABLE params (
  run_id TEXT NOT NULL REFERENCES runs ON DELETE CASCADE,
  seq INTEGER NOT NULL,
  name TEXT NOT NULL,
  value TEXT NOT NULL,
  PRIMARY KEY (run_id, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE labels (
  run_id TEXT NOT NULL REFERENCES runs ON DELETE CASCADE,
  name TEXT NOT NULL,
  value TEXT NOT NULL,
  PRIMARY KEY (run_id, name)
) STRICT, WITHOUT ROWID;

CREATE INDEX labels_value ON labels (name, value);

CREATE TABLE tasks (
  run_id TEXT NOT NULL REFERENCES runs ON DELETE CASCADE,
  path TEXT NOT NULL,
  seq INTEGER NOT NULL,                -- the order in which they started
  rev INTEGER NOT NULL,                -- the run's rev when it last changed
  kind TEXT NOT NULL,
  state TEXT NOT NULL,
  attempts INTEGER NOT NULL,
  cache TEXT,
  started_at TEXT,
  ended_at TEXT,
  inputs TEXT NOT NULL,
  outputs TEXT NOT NULL,
  error TEXT,
  PRIMARY KEY (run_id, path)
) STRICT, WITHOUT ROWID;

CREATE INDEX tasks_rev ON tasks (run_id, rev);

CREATE TABLE artifacts (
  run_id TEXT NOT NULL REFERENCES runs ON DELETE CASCADE,
  seq INTEGER NOT NULL,
  task TEXT NOT NULL,
  name TEXT NOT NULL,
  type TEXT NOT NULL,
  uri TEXT NOT NULL,
  metadata TEXT NOT NULL,
  PRIMARY KEY (run_id, seq)
) STRICT, WITHOUT ROWID;

CREATE TABLE metrics (
  run_id TEXT NOT NULL REFERENCES runs ON DELETE CASCADE,
  seq INTEGER NOT NULL,
  task TEXT NOT NULL,
  artifact TEXT NOT NULL,
  name TEXT NOT NULL,
  value TEXT NOT NULL,
  PRIMARY KEY (run_id, task, artifact, name)
) STRICT, WITHOUT ROWID;
