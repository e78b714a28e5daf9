"""Buckets of Cloud Storage, of S3, and of servers that speak the protocol of S3, such as MinIO.

`objects` copies and `preview` reads what a URI names, `permissions` checks a bucket. Below them,
`connect` opens a bucket and `transfer` copies its files. `bucket` says what every bucket can do;
`gcs` and `s3` do it.
"""
