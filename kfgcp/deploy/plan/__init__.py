"""Plans: what an environment lacks of what kfgcp.toml declares, and how `apply` writes it.

`changes` has the values that people see. `pipelines`, `schedules`, `use_tags` and `image_tags`
compare what is declared with what the services have, and are pure. `read` and `image_tag_reader`
read the services, `fingerprint` and `plan_file` recognize a plan that is out of date, and `apply`
writes.
"""
