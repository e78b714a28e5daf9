module "environment" {
  source      = "../.."
  project     = "acme-ml-dev"
  location    = "europe-west4"
  environment = "dev"
  cost_center = "ml"
  teams       = { growth = ["group:growth@acme.example"] }
  schedules = {
    churn-daily = { team = "growth", cron = "0 6 * * 1-5", template = "churn/v1" }
  }
}

output "kfgcp_environments" {
  description = "What `kfgcp env import` reads."
  value       = module.environment.kfgcp_environments
}
