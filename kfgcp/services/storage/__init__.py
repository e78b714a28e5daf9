"""The clients of buckets: Cloud Storage, S3, and servers with the protocol of S3, such as MinIO.

The rest of kfgcp names what it needs by a URI:

- `objects` downloads and uploads, and checks whether something exists;
- `preview` reads the beginning of an object and the names in a folder;
- `permissions` tests what this machine may do in a bucket.

They open a bucket with `connect`. `bucket` says what every bucket can do; `gcs` and `s3` implement
it. `downloads` and `uploads` copy files with these methods.
"""
