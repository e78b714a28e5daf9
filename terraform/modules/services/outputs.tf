output "project" {
  description = "The project id, known once its APIs are on: modules that take it from here wait for them."
  value       = var.project
  depends_on  = [google_project_service.this]
}

output "services" {
  description = "The APIs that are on because of this module, sorted."
  value       = sort([for service in google_project_service.this : service.service])
}
