-- What each finished task of a run put out, as the engine needs it to go on with the run or to use it in another one.

CREATE TABLE outcomes (
  run_id TEXT NOT NULL REFERENCES runs ON DELETE CASCADE,
  path TEXT NOT NULL,
  key TEXT NOT NULL,                   -- of the code and the inputs it was made from
  outputs TEXT NOT NULL,
  PRIMARY KEY (run_id, path)
) STRICT, WITHOUT ROWID;
