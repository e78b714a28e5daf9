# Runs on a schedule. The google provider has no resource for schedules of Vertex AI, so Cloud Scheduler makes the
# request that would start the run by hand. It delivers at least once: a run may, rarely, be started twice.

locals {
  labels = merge(var.labels, { component = "scheduler", managed_by = "terraform" })
  host   = "${var.location}-aiplatform.googleapis.com"
  # Attributes that are null are left out: the service would refuse some of them.
  bodies = { for name, schedule in var.schedules : name => {
    for key, value in {
      displayName    = name
      templateUri    = schedule.template
      serviceAccount = schedule.runner
      labels         = merge(local.labels, { env = var.labels["environment"], experiment = schedule.experiment, schedule = name }, schedule.labels)
      runtimeConfig = {
        gcsOutputDirectory = schedule.root
        parameterValues    = jsondecode(schedule.params)
        failurePolicy      = "PIPELINE_FAILURE_POLICY_FAIL_${schedule.failure_slow ? "SLOW" : "FAST"}"
      }
      network            = schedule.network
      pscInterfaceConfig = schedule.psc == null ? null : { networkAttachment = schedule.psc }
      encryptionSpec     = schedule.kms_key == null ? null : { kmsKeyName = schedule.kms_key }
    } : key => value if value != null
  } }
}

resource "google_cloud_scheduler_job" "this" {
  for_each         = var.schedules
  project          = var.project
  region           = var.location
  name             = "${var.prefix}-${each.key}"
  description      = "Starts ${each.value.template}"
  schedule         = each.value.cron
  time_zone        = each.value.time_zone
  paused           = each.value.paused
  attempt_deadline = "60s"

  retry_config {
    retry_count          = 3
    min_backoff_duration = "30s"
    max_backoff_duration = "300s"
  }

  http_target {
    http_method = "POST"
    uri         = "https://${local.host}/v1/projects/${var.project}/locations/${var.location}/pipelineJobs"
    headers     = { "Content-Type" = "application/json" }
    body        = base64encode(jsonencode(local.bodies[each.key]))
    oauth_token {
      service_account_email = var.service_account
      scope                 = "https://www.googleapis.com/auth/cloud-platform"
    }
  }
}
