module "storage" {
  source   = "../.."
  project  = "acme-ml-dev"
  location = "europe-west4"
  labels   = { environment = "dev", cost_center = "ml" }
  buckets = {
    artifacts = { folders = ["growth"], delete_after_days = 180 }
    state     = { noncurrent_versions = 20 }
  }
  iam = {
    "artifacts/growth" = {
      runner = { role = "roles/storage.objectUser", member = "serviceAccount:runner-growth@acme-ml-dev.iam.gserviceaccount.com" }
    }
  }
}

output "urls" {
  description = "Where the buckets and folders are."
  value       = module.storage.urls
}
