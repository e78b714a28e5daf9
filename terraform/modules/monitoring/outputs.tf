output "channels" {
  description = "The notification channels, for alerts of other modules."
  value       = local.channels
}

output "metrics" {
  description = "Metric of kfgcp -> its type and its labels, as a writer needs them."
  value = { for name, descriptor in google_monitoring_metric_descriptor.this : name => {
    type   = descriptor.type
    labels = sort([for label in descriptor.labels : label.key])
  } }
}

output "budget_topic" {
  description = "Topic that tells what the project has cost, or null; a subscriber of your own may act on it."
  value       = one(google_pubsub_topic.budget[*].id)
}
