output "triggers" {
  description = "Trigger, main, tags or pull_request -> its id."
  value = merge(
    { for key, trigger in google_cloudbuild_trigger.push : key => trigger.trigger_id },
    { pull_request = google_cloudbuild_trigger.pull_request.trigger_id },
  )
}
