# Stops what costs money while nobody works, and starts it again. GKE does one thing at a time to a cluster, so each step
# has its own minute; autoscaling goes first, or it would bring back the nodes that are taken away.

locals {
  container = "https://container.googleapis.com/v1/projects/${var.project}/locations/${var.location}/clusters/${local.name}/nodePools"
  sql       = "https://sqladmin.googleapis.com/v1/projects/${var.project}/instances/${local.name}"
  resting = { for key, pool in local.pools : key => pool.total
    ? { enabled = true, totalMinNodeCount = pool.min, totalMaxNodeCount = pool.max, locationPolicy = "ANY" }
    : { enabled = true, minNodeCount = pool.min, maxNodeCount = pool.max, locationPolicy = "BALANCED" }
  }
  steps = var.working_hours == null ? {} : {
    stop-1-scaling-system = { at = "stop", after = 0, method = "POST", uri = "${local.container}/system:setAutoscaling", body = jsonencode({ autoscaling = { enabled = false } }) }
    stop-2-scaling-tasks  = { at = "stop", after = 10, method = "POST", uri = "${local.container}/tasks:setAutoscaling", body = jsonencode({ autoscaling = { enabled = false } }) }
    stop-3-nodes-system   = { at = "stop", after = 20, method = "POST", uri = "${local.container}/system:setSize", body = jsonencode({ nodeCount = 0 }) }
    stop-4-nodes-tasks    = { at = "stop", after = 35, method = "POST", uri = "${local.container}/tasks:setSize", body = jsonencode({ nodeCount = 0 }) }
    stop-5-database       = { at = "stop", after = 50, method = "PATCH", uri = local.sql, body = jsonencode({ settings = { activationPolicy = "NEVER" } }) }
    start-1-database      = { at = "start", after = 0, method = "PATCH", uri = local.sql, body = jsonencode({ settings = { activationPolicy = "ALWAYS" } }) }
    start-2-nodes         = { at = "start", after = 5, method = "POST", uri = "${local.container}/system:setSize", body = jsonencode({ nodeCount = var.system_pool.nodes }) }
    start-3-scaling       = { at = "start", after = 20, method = "POST", uri = "${local.container}/system:setAutoscaling", body = jsonencode({ autoscaling = local.resting["system"] }) }
    start-4-scaling-tasks = { at = "start", after = 30, method = "POST", uri = "${local.container}/tasks:setAutoscaling", body = jsonencode({ autoscaling = local.resting["tasks"] }) }
  }
  # A step's minute is added to the first field of the cron line, which is a number below 60 less the last step's.
  cron = var.working_hours == null ? {} : { start = split(" ", var.working_hours.start), stop = split(" ", var.working_hours.stop) }
}

resource "google_cloud_scheduler_job" "switch" {
  for_each         = local.steps
  project          = var.project
  region           = var.location
  name             = "${local.name}-${each.key}"
  description      = "Working hours of the cluster ${local.name}"
  schedule         = join(" ", concat([tostring(tonumber(local.cron[each.value.at][0]) + each.value.after)], slice(local.cron[each.value.at], 1, 5)))
  time_zone        = var.working_hours.time_zone
  paused           = var.stopped
  attempt_deadline = "60s"

  retry_config {
    retry_count          = 3
    min_backoff_duration = "60s"
    max_backoff_duration = "240s"
  }
  http_target {
    http_method = each.value.method
    uri         = each.value.uri
    headers     = { "Content-Type" = "application/json" }
    body        = base64encode(each.value.body)
    oauth_token {
      service_account_email = var.switch_service_account
      scope                 = "https://www.googleapis.com/auth/cloud-platform"
    }
  }
  lifecycle {
    precondition {
      condition     = can(tonumber(local.cron[each.value.at][0])) ? tonumber(local.cron[each.value.at][0]) <= 9 : false
      error_message = "The minute of start and stop is a number from 0 to 9: what follows takes 50 minutes of the hour."
    }
  }
}
