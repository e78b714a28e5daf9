"""Plans: what an environment lacks of what kfgcp.toml declares, and how `apply` writes it.

`changes` has the values that people see. `pipelines`, `schedules` and `use_tags` compare what is
declared with what the services have, and are pure. `read` reads the services, `fingerprint` and
`plan_file` recognize a plan that is out of date, and `apply` writes.
"""
