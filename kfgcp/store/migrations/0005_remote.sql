-- Runs of remote backends: what was read of each, and how far each list of theirs was read.

ALTER TABLE runs ADD COLUMN read TEXT NOT NULL DEFAULT 'everything';  -- listed, tasks, everything; see rows.ReadLevel

CREATE INDEX runs_ref ON runs (backend_ref) WHERE backend_ref IS NOT NULL;

CREATE TABLE observed (
  place TEXT PRIMARY KEY,
  changed_until TEXT NOT NULL,
  created_since TEXT NOT NULL
) STRICT, WITHOUT ROWID;
