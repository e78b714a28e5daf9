-- Which run uses what an attempt of another run made: files and logs are kept as long as a run uses them.

CREATE TABLE uses (
  run_id TEXT NOT NULL REFERENCES runs ON DELETE CASCADE,
  task TEXT NOT NULL,                  -- the path of the task that uses it
  made_by TEXT NOT NULL,               -- the run that made it, which may have been deleted since
  made_task TEXT NOT NULL,
  attempt INTEGER NOT NULL,
  cached INTEGER NOT NULL,             -- 1: all outputs of the task are from there, and its log is
  PRIMARY KEY (run_id, task, made_by, made_task, attempt)
) STRICT, WITHOUT ROWID;

CREATE INDEX uses_made_by ON uses (made_by);

-- The attempt of `run_id` that an entry of the cache comes from. `task` has no numbers of iterations, `path` has them.
ALTER TABLE cache ADD COLUMN path TEXT NOT NULL DEFAULT '';
ALTER TABLE cache ADD COLUMN attempt INTEGER NOT NULL DEFAULT 0;

CREATE INDEX cache_run ON cache (run_id);

UPDATE cache SET (path, attempt) = (o.path, o.attempts) FROM (
  SELECT c.pipeline, c.key, o.path, t.attempts,
    ROW_NUMBER() OVER (PARTITION BY c.pipeline, c.key ORDER BY o.key = c.key DESC, o.path = c.task DESC) AS place
  FROM cache AS c
  JOIN outcomes AS o ON o.run_id = c.run_id AND o.outputs = c.outputs
  JOIN tasks AS t ON t.run_id = o.run_id AND t.path = o.path AND t.state = 'SUCCEEDED' AND t.kind = 'container'
) AS o
WHERE o.pipeline = cache.pipeline AND o.key = cache.key AND o.place = 1;

-- Nobody can tell whose files these are, so nobody could keep them.
DELETE FROM cache WHERE path = '';

-- What earlier versions recorded: a cached task has the outputs of the newest task with the same code, inputs and
-- outputs that had ended by then.
INSERT INTO uses
SELECT run_id, path, made_by, made_task, attempts, 1 FROM (
  SELECT c.run_id, c.path, m.run_id AS made_by, m.path AS made_task, mt.attempts,
    ROW_NUMBER() OVER (PARTITION BY c.run_id, c.path ORDER BY mt.ended_at DESC, m.path = c.path DESC) AS place
  FROM tasks AS ct
  JOIN runs AS cr ON cr.run_id = ct.run_id AND cr.backend = 'local'
  JOIN outcomes AS c ON c.run_id = ct.run_id AND c.path = ct.path
  JOIN outcomes AS m ON m.key = c.key AND m.outputs = c.outputs AND m.run_id <> c.run_id
  JOIN tasks AS mt ON mt.run_id = m.run_id AND mt.path = m.path AND mt.state = 'SUCCEEDED' AND mt.ended_at <= ct.ended_at
  JOIN runs AS mr ON mr.run_id = m.run_id AND mr.pipeline = cr.pipeline
  WHERE ct.state = 'CACHED' AND ct.kind = 'container'
) WHERE place = 1;

-- An artifact lies in the folder of the run that made it, which is named after the run. Where several tasks of that run
-- had the artifact, all of them are kept.
INSERT OR IGNORE INTO uses
SELECT a.run_id, a.task, m.run_id, m.task, mt.attempts, 0
FROM artifacts AS a
JOIN runs AS ar ON ar.run_id = a.run_id AND ar.backend = 'local'
JOIN artifacts AS m ON m.uri = a.uri AND m.run_id <> a.run_id AND instr(m.uri, '/' || m.run_id || '/')
JOIN tasks AS mt ON mt.run_id = m.run_id AND mt.path = m.task AND mt.attempts > 0
WHERE a.uri LIKE 'file:///%';
