module "kubeflow" {
  source               = "../.."
  project              = "acme-ml-dev"
  location             = "europe-west4"
  labels               = { environment = "dev", cost_center = "ml" }
  host                 = "kfp.acme.example"
  bucket               = "acme-ml-dev-kubeflow"
  users                = { growth = "group:growth@acme.example" }
  admins_from          = { office = "203.0.113.0/24" }
  node_service_account = "kfgcp-nodes@acme-ml-dev.iam.gserviceaccount.com"
  pod_service_accounts = {
    cloudsql-proxy  = "kfgcp-kfp-sql@acme-ml-dev.iam.gserviceaccount.com"
    ml-pipeline     = "kfgcp-kfp-server@acme-ml-dev.iam.gserviceaccount.com"
    ml-pipeline-ui  = "kfgcp-kfp-ui@acme-ml-dev.iam.gserviceaccount.com"
    pipeline-runner = "kfgcp-kfp-runner@acme-ml-dev.iam.gserviceaccount.com"
    secret-reader   = "kfgcp-kfp-secrets@acme-ml-dev.iam.gserviceaccount.com"
  }
  dump_service_account   = "kfgcp-kfp-dump@acme-ml-dev.iam.gserviceaccount.com"
  working_hours          = { start = "0 7 * * 1-5", stop = "0 20 * * 1-5", time_zone = "Europe/Berlin" }
  switch_service_account = "kfgcp-kfp-switch@acme-ml-dev.iam.gserviceaccount.com"
}

output "parameters" {
  description = "What the overlay is told."
  value       = module.kubeflow.parameters
}
