"""Read and write buckets of Cloud Storage, S3, and servers with the protocol of S3, such as MinIO.

Other parts of kfgcp call these modules, with the URI of an object or a folder:

- `objects` downloads, uploads, and checks that an object exists.
- `preview` reads the beginning of an object, and the names in a folder.
- `permissions` tests the permissions of this machine in a bucket.

These modules open a bucket with `connect`. Each bucket has the methods of the protocol in `bucket`,
which `gcs` and `s3` implement. `downloads` and `uploads` copy files with these methods.
"""
