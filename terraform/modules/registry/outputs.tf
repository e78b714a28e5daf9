output "repositories" {
  description = "Repository, docker or kfp -> its id in the project."
  value       = { for key, repository in google_artifact_registry_repository.this : key => repository.repository_id }
}

output "docker_url" {
  description = "What the name of an image begins with."
  value       = "${var.location}-docker.pkg.dev/${var.project}/${google_artifact_registry_repository.this["docker"].repository_id}"
}

output "kfp_url" {
  description = "Where compiled pipelines are uploaded to, and what a template's URI begins with."
  value       = "https://${var.location}-kfp.pkg.dev/${var.project}/${google_artifact_registry_repository.this["kfp"].repository_id}"
}
