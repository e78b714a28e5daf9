"""The meaning of a compiled pipeline: values, placeholders, inputs and control flow.

The modules use no clock, disk, network or threads. The engine, remote backends and the stand-ins of
services use them.
"""
