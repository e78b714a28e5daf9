output "buckets" {
  description = "Bucket -> its whole name."
  value       = { for key, bucket in google_storage_bucket.this : key => bucket.name }
}

output "urls" {
  description = "Bucket, or bucket/folder -> gs://NAME or gs://NAME/FOLDER."
  value = merge(
    { for key, bucket in google_storage_bucket.this : key => "gs://${bucket.name}" },
    { for key, folder in google_storage_managed_folder.this : key => "gs://${folder.bucket}/${trimsuffix(folder.name, "/")}" },
  )
}
