-- What could only be told by a text before: how often a run was asked to end, what kind an error is, and that the
-- workflow of a run is not in the cluster any more.

ALTER TABLE runs ADD COLUMN cancel_requests INTEGER NOT NULL DEFAULT 0;

-- Each request after the first one added ' again' to the time of the first one.
UPDATE runs SET
  cancel_requests = 1 + (length(cancel_requested_at) - length(replace(cancel_requested_at, ' again', ''))) / 6,
  cancel_requested_at = replace(cancel_requested_at, ' again', '')
WHERE cancel_requested_at IS NOT NULL;

UPDATE runs SET error = json_set(error, '$.kind', 'INTERRUPTED')
WHERE backend = 'local' AND error IS NOT NULL
  AND json_extract(error, '$.message') GLOB 'the engine was killed or crashed before the run ended;*';

UPDATE runs SET error = json_set(error, '$.kind', 'DELETED')
WHERE backend <> 'local' AND error IS NOT NULL
  AND json_extract(error, '$.message') = 'the run was deleted before it had ended here';

UPDATE runs SET error = json_set(error, '$.kind', 'LOG_UNREAD')
WHERE backend = 'kubeflow' AND error IS NOT NULL AND json_extract(error, '$.message') IN (
  'the task failed; its log says why',
  'the task could not be started; the log of its driver says why',
  'the pipeline could not be started; the log of its pod root-driver says why'
);
UPDATE tasks SET error = json_set(error, '$.kind', 'LOG_UNREAD')
WHERE error IS NOT NULL AND run_id IN (SELECT run_id FROM runs WHERE backend = 'kubeflow')
  AND json_extract(error, '$.message') IN (
    'the task failed; its log says why',
    'the task could not be started; the log of its driver says why'
  );

UPDATE runs SET error = json_set(error, '$.kind', 'LOG_SILENT')
WHERE backend = 'kubeflow' AND error IS NOT NULL
  AND json_extract(error, '$.message') = 'the task failed; its log does not say why';
UPDATE tasks SET error = json_set(error, '$.kind', 'LOG_SILENT')
WHERE error IS NOT NULL AND run_id IN (SELECT run_id FROM runs WHERE backend = 'kubeflow')
  AND json_extract(error, '$.message') = 'the task failed; its log does not say why';

UPDATE names SET kind = 'without workflow', name = '' WHERE kind = 'cancelling since' AND name = 'gone';
