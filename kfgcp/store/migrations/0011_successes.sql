-- The cache has a row for each success, so that an older one remains when the newest of a key is deleted.
-- Runs of an earlier version may be under way: what that version writes has its meaning here too.

CREATE TABLE successes (
  pipeline TEXT NOT NULL,
  key TEXT NOT NULL,
  stored_at TEXT NOT NULL,
  run_id TEXT NOT NULL,
  path TEXT NOT NULL,
  attempt INTEGER NOT NULL,
  task TEXT NOT NULL,                  -- the path without numbers of iterations
  parts TEXT NOT NULL,
  outputs TEXT NOT NULL,
  has_files INTEGER NOT NULL DEFAULT 0,  -- 1: the outputs have files
  deleted INTEGER GENERATED ALWAYS AS (outputs = 'null'),  -- 1: the run was deleted, and nobody uses its files
  PRIMARY KEY (pipeline, key, stored_at, run_id, path)
) STRICT, WITHOUT ROWID;

-- What a deleted run put out is not known any more: nothing is said about its files.
INSERT INTO successes (pipeline, key, stored_at, run_id, path, attempt, task, parts, outputs, has_files)
SELECT pipeline, key, stored_at, run_id, path, attempt, task, parts, outputs, instr(outputs, '"stored":true') > 0
FROM cache;

DROP TABLE cache;
ALTER TABLE successes RENAME TO cache;
CREATE INDEX cache_task ON cache (pipeline, task, stored_at DESC);
CREATE INDEX cache_run ON cache (run_id);
