-- Outputs of successful tasks, by the key of what they were made from. `parts` says what the key was made of.

CREATE TABLE cache (
  pipeline TEXT NOT NULL,
  key TEXT NOT NULL,
  task TEXT NOT NULL,
  run_id TEXT NOT NULL,
  stored_at TEXT NOT NULL,
  parts TEXT NOT NULL,
  outputs TEXT NOT NULL,
  PRIMARY KEY (pipeline, key)
) STRICT, WITHOUT ROWID;

CREATE INDEX cache_task ON cache (pipeline, task, stored_at DESC);
