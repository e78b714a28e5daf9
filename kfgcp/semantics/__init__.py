"""What a compiled pipeline means: values, placeholders, inputs, control flow.

Pure: no clock, disk, network or threads. The engine, remote backends and stand-ins use it.
"""
