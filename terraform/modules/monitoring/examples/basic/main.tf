module "monitoring" {
  source           = "../.."
  project          = "acme-ml-dev"
  labels           = { environment = "dev", cost_center = "ml" }
  emails           = ["ml-ops@acme.example"]
  slow_run_seconds = 7200
  expected_runs    = { churn = 23 }
  quality          = { churn_accuracy = { pipeline = "churn", metric = "accuracy", below = 0.9 } }
  budget           = { billing_account = "012345-6789AB-CDEF01", amount = 500 }
}

output "metrics" {
  description = "The metrics of kfgcp, and their labels."
  value       = module.monitoring.metrics
}
