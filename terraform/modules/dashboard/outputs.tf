output "url" {
  description = "Where it is."
  value       = "https://${local.host}"
}

output "service" {
  description = "Name of the service on Cloud Run."
  value       = google_cloud_run_v2_service.this.name
}

output "users" {
  description = "Who gets through Identity-Aware Proxy."
  value       = toset([for grant in google_iap_web_cloud_run_service_iam_member.users : grant.member])
}
