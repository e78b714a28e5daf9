"""The clients of services: one transport, retries, errors, pages, sign-in, and buckets.

No module here knows a backend.
"""
