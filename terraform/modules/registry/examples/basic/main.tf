module "registry" {
  source      = "../.."
  project     = "acme-ml-dev"
  location    = "europe-west4"
  labels      = { environment = "dev", cost_center = "ml" }
  keep_recent = 5
  iam = {
    docker = {
      ci = { role = "roles/artifactregistry.writer", member = "serviceAccount:kfgcp-ci@acme-ml-dev.iam.gserviceaccount.com" }
    }
  }
}

output "kfp_url" {
  description = "Where pipelines are uploaded to."
  value       = module.registry.kfp_url
}
