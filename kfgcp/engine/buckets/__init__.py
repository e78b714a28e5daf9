"""Buckets of Cloud Storage, of S3, and of servers that speak the protocol of S3, such as MinIO.

`settings` says where they are, `base` what every bucket can do, `gcs` and `s3` do it, `transfer`
copies files.
"""
