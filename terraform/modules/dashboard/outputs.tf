output "url" {
  description = "Where it is."
  value       = google_cloud_run_v2_service.this.uri
}

output "service" {
  description = "Name of the service on Cloud Run."
  value       = google_cloud_run_v2_service.this.name
}
