# A whole environment: which modules there are, and what each gets from the others.

locals {
  labels = merge(var.labels, { environment = var.environment, cost_center = var.cost_center })
  has = {
    ci        = var.ci != null
    dashboard = var.dashboard != null
    kubeflow  = var.kubeflow != null
    network   = var.network != null
    scheduler = length(var.schedules) > 0
    submitter = var.federation != null
  }
  parts   = toset([for part, wanted in local.has : part if wanted])
  members = distinct(flatten(values(var.teams)))
  emails  = module.identities.emails
  buckets = merge(
    {
      artifacts = { folders = keys(var.teams), delete_after_days = var.artifact_days }
      builds    = { delete_after_days = 90 }
      state     = { keep = true, noncurrent_versions = 50, noncurrent_days = 90, soft_delete_days = 30 }
    },
    local.has.kubeflow ? { kubeflow = { folders = ["artifacts", "logs", "pipelines"], delete_after_days = var.artifact_days, delete_in = ["artifacts", "logs"] } } : {},
  )
}

module "services" {
  source  = "../services"
  project = var.project
  parts   = setunion(setsubtract(local.parts, ["submitter"]), ["monitoring"])
  more    = var.apis
}

module "identities" {
  source     = "../identities"
  project    = module.services.project
  prefix     = var.prefix
  teams      = var.teams
  viewers    = var.viewers
  parts      = setsubtract(local.parts, ["network"])
  federation = var.federation
}

module "storage" {
  source              = "../storage"
  project             = module.services.project
  location            = var.location
  labels              = local.labels
  kms_key             = var.kms_key
  buckets             = local.buckets
  iam                 = { for target, grants in module.identities.grants : target => grants if !contains(["docker", "kfp"], target) }
  deletion_protection = var.deletion_protection
}

module "registry" {
  source         = "../registry"
  project        = module.services.project
  location       = var.location
  labels         = local.labels
  prefix         = var.prefix
  kms_key        = var.kms_key
  immutable_tags = var.immutable_tags
  iam            = { for target, grants in module.identities.grants : target => grants if contains(["docker", "kfp"], target) }
}

module "monitoring" {
  source            = "../monitoring"
  project           = module.services.project
  labels            = local.labels
  prefix            = var.prefix
  emails            = coalesce(var.monitoring.emails, [])
  slow_run_seconds  = var.monitoring.slow_run_seconds
  slow_task_seconds = var.monitoring.slow_task_seconds
  retries_an_hour   = var.monitoring.retries_an_hour
  expected_runs     = var.monitoring.expected_runs == null ? {} : var.monitoring.expected_runs
  quality           = var.monitoring.quality == null ? {} : var.monitoring.quality
  budget            = var.monitoring.budget
}

module "vertex" {
  source                = "../vertex"
  project               = module.services.project
  location              = var.location
  labels                = local.labels
  prefix                = var.prefix
  kms_key               = var.kms_key
  network               = var.network
  notification_channels = module.monitoring.channels
}

module "scheduler" {
  source          = "../scheduler"
  count           = local.has.scheduler ? 1 : 0
  project         = module.services.project
  location        = var.location
  labels          = local.labels
  prefix          = var.prefix
  service_account = local.emails["scheduler"]
  schedules = { for name, schedule in var.schedules : name => {
    cron      = schedule.cron
    time_zone = schedule.time_zone
    template  = startswith(schedule.template, "https://") ? schedule.template : "${module.registry.kfp_url}/${schedule.template}"
    params    = schedule.params
    paused    = schedule.paused
    runner    = module.identities.runners[schedule.team]
    root      = module.storage.urls["artifacts/${schedule.team}"]
    labels    = { team = schedule.team }
    psc       = module.vertex.settings.psc_network_attachment
    network   = module.vertex.settings.network
    kms_key   = var.kms_key
  } }
}

module "ci" {
  source                       = "../ci"
  count                        = local.has.ci ? 1 : 0
  project                      = module.services.project
  location                     = coalesce(var.ci.location, var.location)
  prefix                       = var.prefix
  environment                  = var.environment
  repository                   = var.ci.repository
  main_branch                  = coalesce(var.ci.main_branch, "main")
  service_account              = local.emails["ci"]
  pull_request_service_account = local.emails["ci-pr"]
  artifact_bucket              = module.storage.buckets["builds"]
}

module "dashboard" {
  source                = "../dashboard"
  count                 = local.has.dashboard ? 1 : 0
  project               = module.services.project
  location              = var.location
  labels                = local.labels
  prefix                = var.prefix
  image                 = var.dashboard.image
  service_account       = local.emails["dashboard"]
  users                 = distinct(concat(local.members, var.viewers, coalesce(var.dashboard.users, [])))
  environment_variables = { KFGCP_ENV = var.environment }
  deletion_protection   = var.deletion_protection
}

module "kubeflow" {
  source   = "../gke-kubeflow"
  count    = local.has.kubeflow ? 1 : 0
  project  = module.services.project
  location = var.location
  labels   = local.labels
  prefix   = var.prefix
  kms_key  = var.kms_key
  host     = var.kubeflow.host
  bucket   = module.storage.buckets["kubeflow"]

  # Kubeflow for one user lets in who may do everything; viewers are not among them.
  users                  = merge({ for member in local.members : member => member }, local.has.submitter ? { submitter = "serviceAccount:${local.emails["submitter"]}" } : {})
  admins_from            = var.kubeflow.admins_from == null ? {} : var.kubeflow.admins_from
  ranges                 = var.kubeflow.ranges == null ? {} : var.kubeflow.ranges
  system_pool            = var.kubeflow.system_pool == null ? {} : var.kubeflow.system_pool
  task_pool              = var.kubeflow.task_pool == null ? {} : var.kubeflow.task_pool
  database               = var.kubeflow.database == null ? {} : var.kubeflow.database
  working_hours          = var.kubeflow.working_hours
  stopped                = coalesce(var.kubeflow.stopped, false)
  backup_hour            = coalesce(var.kubeflow.backup_hour, 1)
  security_group         = var.kubeflow.security_group
  viewers_group          = var.kubeflow.viewers_group
  node_service_account   = local.emails["nodes"]
  dump_service_account   = local.emails["kfp-dump"]
  switch_service_account = local.emails["kfp-switch"]
  pod_service_accounts   = module.identities.pods
  deletion_protection    = var.deletion_protection
}
