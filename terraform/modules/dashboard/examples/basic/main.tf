module "dashboard" {
  source          = "../.."
  project         = "acme-ml-dev"
  location        = "europe-west4"
  labels          = { environment = "dev", cost_center = "ml" }
  image           = "europe-west4-docker.pkg.dev/acme-ml-dev/kfgcp-docker/dashboard:v1.2.0"
  service_account = "kfgcp-dashboard@acme-ml-dev.iam.gserviceaccount.com"
  users           = ["group:growth@acme.example"]
}

output "service" {
  description = "The service's name."
  value       = module.dashboard.service
}
