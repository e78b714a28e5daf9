"""Schedules of a project: when its pipelines run by themselves.

`labels` names the runs of a schedule, `state` keeps what a schedule on this machine has done,
`tick` starts its due runs, `backfill` starts the runs of earlier due times, and `schedules` is the
object behind `Workspace.schedules`.
"""
