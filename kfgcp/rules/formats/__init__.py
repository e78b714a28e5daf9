"""What a report of `kfgcp check` looks like, one file for each format.

Each function gets a report and returns text. It reads no file, no clock and no terminal. Names and
values of a pipeline are data: no format obeys them.
"""
