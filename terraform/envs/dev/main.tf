# Small, cheap and easy to remove: nothing is protected, tasks run on spot machines, the cluster rests at night.

module "environment" {
  source      = "../../modules/environment"
  environment = "dev"
  project     = var.project
  location    = var.location
  cost_center = var.cost_center
  teams       = var.teams
  federation  = var.federation
  schedules   = var.schedules
  monitoring  = { emails = var.emails, budget = var.budget }
  ci          = var.ci_repository == null ? null : { repository = var.ci_repository }
  dashboard   = var.dashboard_image == null ? null : { image = var.dashboard_image }
  kubeflow = one([for given in var.kubeflow[*] : merge(given, {
    task_pool     = { spot = true, max_nodes = 3 }
    working_hours = { start = "0 7 * * 1-5", stop = "0 20 * * 1-5", time_zone = "Europe/Berlin" }
    backup_hour   = 9 # UTC: what rests cannot be backed up
  })])

  deletion_protection = false
  artifact_days       = 90
  immutable_tags      = false
}
