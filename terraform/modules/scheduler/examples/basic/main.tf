module "scheduler" {
  source          = "../.."
  project         = "acme-ml-dev"
  location        = "europe-west4"
  labels          = { environment = "dev", cost_center = "ml" }
  service_account = "kfgcp-scheduler@acme-ml-dev.iam.gserviceaccount.com"
  schedules = {
    churn-daily = {
      cron      = "0 6 * * 1-5"
      time_zone = "Europe/Berlin"
      template  = "https://europe-west4-kfp.pkg.dev/acme-ml-dev/kfgcp-kfp/churn/v1"
      runner    = "kfgcp-runner-growth@acme-ml-dev.iam.gserviceaccount.com"
      root      = "gs://acme-ml-dev-artifacts/growth"
      params    = jsonencode({ lr = 0.1, rounds = 20 })
    }
  }
}

output "requests" {
  description = "What is sent, and where to."
  value       = module.scheduler.requests
}
