output "jobs" {
  description = "Schedule -> the name of its job in Cloud Scheduler."
  value       = { for name, job in google_cloud_scheduler_job.this : name => job.name }
}

output "requests" {
  description = "Schedule -> what it sends: uri and body (JSON)."
  value = { for name, job in google_cloud_scheduler_job.this : name => {
    uri  = job.http_target[0].uri
    body = base64decode(job.http_target[0].body)
  } }
}
