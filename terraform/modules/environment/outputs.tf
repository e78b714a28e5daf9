locals {
  on_vertex = { for team in keys(var.teams) : team => merge(
    { for key, value in module.vertex.settings : key => value if value != null },
    {
      backend           = "vertex"
      project           = var.project
      pipeline_root     = module.storage.urls["artifacts/${team}"]
      pipeline_registry = module.registry.kfp_url
      service_account   = module.identities.runners[team]
      labels            = { team = team, environment = var.environment, cost_center = var.cost_center }
    },
  ) }
  on_kubeflow = local.has.kubeflow ? { for team in keys(var.teams) : "${team}-kubeflow" => merge(
    module.kubeflow[0].settings,
    {
      backend       = "kubeflow"
      project       = var.project
      pipeline_root = "${module.kubeflow[0].settings.pipeline_root}/${team}"
      labels        = { team = team, environment = var.environment, cost_center = var.cost_center }
      iap_client_id = var.kubeflow.iap_client_id
    },
  ) } : {}
}

output "kfgcp_environments" {
  description = "For each team, and for each on Kubeflow (TEAM-kubeflow), the keys of an environment in kfgcp.toml: what `kfgcp env import` reads."
  value       = merge(local.on_vertex, local.on_kubeflow)
}

output "docker_url" {
  description = "What the name of an image begins with."
  value       = module.registry.docker_url
}

output "kfp_url" {
  description = "Where compiled pipelines are uploaded to, for schedules."
  value       = module.registry.kfp_url
}

output "dashboard_url" {
  description = "Where the dashboard is, or null."
  value       = one(module.dashboard[*].url)
}

output "federation_provider" {
  description = "The workload identity provider that the CI system outside of Google names, or null."
  value       = module.identities.provider
}

output "emails" {
  description = "Service account -> its email."
  value       = module.identities.emails
}

output "scheduled_requests" {
  description = "Schedule -> what Cloud Scheduler sends for it."
  value       = local.has.scheduler ? module.scheduler[0].requests : {}
}

output "kubeflow_address" {
  description = "Where the A record of Kubeflow's host must lead to, or null."
  value       = one(module.kubeflow[*].address)
}

output "kubeflow_cluster" {
  description = "Name of the cluster, or null."
  value       = one(module.kubeflow[*].cluster)
}

output "kubeflow_parameters" {
  description = "What the overlay is told, see the module gke-kubeflow, or null."
  value       = one(module.kubeflow[*].parameters)
}
