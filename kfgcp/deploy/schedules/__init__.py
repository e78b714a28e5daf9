"""Schedules of a project: when its pipelines run by themselves.

On this machine, `tick` starts the due runs, and `state` keeps what a schedule has done. On a
service, `converge` changes the schedules of one name, `steps` and `missed` decide how, and
`on_service` shows, pauses and resumes them. `labels` finds the runs of a schedule, `backfill`
starts the runs of earlier due times, `listing` lists schedules, and `schedules` is the object
behind `Workspace.schedules`.
"""
