-- Deleted runs whose files are still to be removed: whoever looks next finishes what a killed process began.
CREATE TABLE removals (
  id INTEGER PRIMARY KEY AUTOINCREMENT,  -- never given twice: who has finished one must not cross out a later one
  run_id TEXT NOT NULL
) STRICT;

-- Folders of runs without a record are removed only when this database would have their record: it was there when they
-- were made, and it is not a copy. `inode` is that of the database. From `until` on each deletion is in `removals`, so a
-- folder without a record that is newer belongs to a run that a restored database does not know: it stays.
CREATE TABLE state_folder (
  since TEXT NOT NULL,
  until TEXT NOT NULL,
  inode TEXT NOT NULL DEFAULT ''
) STRICT;

INSERT INTO state_folder (since, until) SELECT min(at), strftime('%Y-%m-%dT%H:%M:%fZ', 'now') FROM (
  SELECT strftime('%Y-%m-%dT%H:%M:%fZ', 'now') AS at
  UNION ALL SELECT created_at FROM runs WHERE backend = 'local'
  UNION ALL SELECT added_at FROM specs WHERE added_at <> ''
    AND NOT EXISTS (SELECT 1 FROM runs WHERE runs.version = specs.version AND runs.backend <> 'local')
);
