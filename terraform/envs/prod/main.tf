# Everything that holds data is protected, the database has a second zone, tags of images stay where they are.

module "environment" {
  source      = "../../modules/environment"
  environment = "prod"
  project     = var.project
  location    = var.location
  cost_center = var.cost_center
  kms_key     = var.kms_key
  teams       = var.teams
  viewers     = var.viewers
  federation  = var.federation
  schedules   = var.schedules
  monitoring  = { emails = var.emails, budget = var.budget }
  ci          = var.ci_repository == null ? null : { repository = var.ci_repository }
  dashboard   = var.dashboard_image == null ? null : { image = var.dashboard_image }
  kubeflow = one([for given in var.kubeflow[*] : merge(given, {
    database  = { tier = "db-custom-2-7680", highly_ready = true, backups = 30 }
    task_pool = { max_nodes = 20 }
  })])

  deletion_protection = true
  immutable_tags      = true
}
