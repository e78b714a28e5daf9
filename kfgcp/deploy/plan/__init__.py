"""Plans: how an environment differs from kfgcp.toml, and how `apply` writes the changes.

`plan` and `changes` have the values that people see. `pipelines`, `schedules`, `use_tags` and
`image_tags` compare what kfgcp.toml declares with what the services have, and are pure. `foreign`
writes notes about schedules of others. `read` and `image_tag_reader` read the services.
`fingerprint` and `plan_file` recognize a plan that is out of date. `apply` writes the changes.
"""
