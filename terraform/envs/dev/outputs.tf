output "kfgcp_environments" {
  description = "What `kfgcp env import` reads: an environment for each team and backend."
  value       = module.environment.kfgcp_environments
}

output "docker_url" {
  description = "What the name of an image begins with."
  value       = module.environment.docker_url
}

output "kfp_url" {
  description = "Where compiled pipelines are uploaded to, for schedules."
  value       = module.environment.kfp_url
}

output "dashboard_url" {
  description = "Where the dashboard is, or null."
  value       = module.environment.dashboard_url
}

output "scheduled_requests" {
  description = "Schedule -> what Cloud Scheduler sends for it."
  value       = module.environment.scheduled_requests
}

output "kubeflow_address" {
  description = "Where the A record of Kubeflow's host must lead to, or null."
  value       = module.environment.kubeflow_address
}

output "kubeflow_cluster" {
  description = "Name of the cluster, or null."
  value       = module.environment.kubeflow_cluster
}

output "kubeflow_parameters" {
  description = "What modules/gke-kubeflow/overlay/render.sh reads, or null."
  value       = module.environment.kubeflow_parameters
}

output "federation_provider" {
  description = "The workload identity provider that the CI system outside of Google names, or null."
  value       = module.environment.federation_provider
}
