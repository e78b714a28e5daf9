-- Queries over many runs: values that compare as what they are, tags and a note for each run, indexes for finding.

-- Of a JSON text: a number as itself, and the beginning of the text of everything else, which begins with `"` where it
-- is a text. Numbers sort before texts. A whole number stays one, as SQLite compares those exactly.
ALTER TABLE params ADD COLUMN typed ANY GENERATED ALWAYS AS (
  CASE
    WHEN value = 'Infinity' THEN 9e999
    WHEN value = '-Infinity' THEN -9e999
    WHEN value NOT GLOB '[-0-9]*' THEN substr(value, 1, 64)
    WHEN value GLOB '*[.eE]*' THEN CAST(value AS REAL)
    ELSE CAST(value AS NUMERIC)
  END
);
ALTER TABLE metrics ADD COLUMN typed ANY GENERATED ALWAYS AS (
  CASE
    WHEN value = 'Infinity' THEN 9e999
    WHEN value = '-Infinity' THEN -9e999
    WHEN value NOT GLOB '[-0-9]*' THEN substr(value, 1, 64)
    WHEN value GLOB '*[.eE]*' THEN CAST(value AS REAL)
    ELSE CAST(value AS NUMERIC)
  END
);

CREATE TABLE tags (
  run_id TEXT NOT NULL REFERENCES runs ON DELETE CASCADE,
  tag TEXT NOT NULL,
  PRIMARY KEY (run_id, tag)
) STRICT, WITHOUT ROWID;

CREATE INDEX tags_tag ON tags (tag);

CREATE TABLE notes (
  run_id TEXT PRIMARY KEY REFERENCES runs ON DELETE CASCADE,
  note TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- Read backwards they are in the order of lists: created_at DESC, rowid DESC.
DROP INDEX runs_created;
DROP INDEX runs_pipeline;
DROP INDEX runs_experiment;
CREATE INDEX runs_created ON runs (created_at);
CREATE INDEX runs_pipeline ON runs (pipeline, created_at);
CREATE INDEX runs_experiment ON runs (experiment, created_at);

CREATE INDEX runs_name ON runs (name);
CREATE INDEX runs_ending ON runs (substr(run_id, -12));
