module "ci" {
  source                       = "../.."
  project                      = "acme-ml-dev"
  location                     = "europe-west1"
  environment                  = "dev"
  repository                   = "projects/acme-ml-dev/locations/europe-west1/connections/github/repositories/acme-pipelines"
  service_account              = "kfgcp-ci@acme-ml-dev.iam.gserviceaccount.com"
  pull_request_service_account = "kfgcp-ci-pr@acme-ml-dev.iam.gserviceaccount.com"
  artifact_bucket              = "acme-ml-dev-builds"
}

output "triggers" {
  description = "The triggers' ids."
  value       = module.ci.triggers
}
