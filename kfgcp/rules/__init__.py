"""What `kfgcp check` knows of pipelines, as rules.

A rule is a decorated function that looks at one part of a pipeline, see `rule`. The rules here are
true everywhere, one file for each family:

    S  spec             what the pipeline itself says is wrong or does not do what it seems to
    P  portability      what ties a pipeline to one place; P2xx is in `translation`
    R  reproducibility  what makes a second run differ from the first one
    Y  safety           secrets and code that others can change

The rules of a backend are in its own folder, in `rules.py`. Rules are pure: they read no file, no
clock and no service.
"""
