"""What a compiled pipeline means: values, placeholders, inputs, conditions, loops and which task
runs when.

Pure: no clock, disk, network or threads. The engine, remote backends and stand-ins use it.
"""
