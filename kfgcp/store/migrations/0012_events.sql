-- What happened to runs, see kfgcp/event.py. Runs that were recorded before have only the events that come from now on:
-- nothing is made up for them.
--
-- `seq` is never given twice, also after the deletion of a run, and it grows with each commit. So who delivers events
-- can continue from the last one that was delivered.
CREATE TABLE events (
  seq INTEGER PRIMARY KEY AUTOINCREMENT,
  run_id TEXT NOT NULL REFERENCES runs ON DELETE CASCADE,
  fact TEXT NOT NULL,                  -- the key without the id of the run
  kind TEXT NOT NULL,
  at TEXT,
  task TEXT,
  attempt INTEGER,
  artifact TEXT,
  metric TEXT,
  UNIQUE (run_id, fact)
) STRICT;
