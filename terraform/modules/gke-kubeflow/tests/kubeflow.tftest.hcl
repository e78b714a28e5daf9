mock_provider "google" {
  mock_resource "google_sql_database_instance" {
    defaults = { connection_name = "acme-ml-dev:europe-west4:kfgcp-kubeflow" }
  }
}

variables {
  project              = "acme-ml-dev"
  location             = "europe-west4"
  labels               = { environment = "dev", cost_center = "ml" }
  host                 = "kfp.acme.example"
  bucket               = "acme-ml-dev-kubeflow"
  node_service_account = "nodes@acme-ml-dev.iam.gserviceaccount.com"
  dump_service_account = "dump@acme-ml-dev.iam.gserviceaccount.com"
  pod_service_accounts = {
    cloudsql-proxy  = "sql@acme-ml-dev.iam.gserviceaccount.com"
    ml-pipeline     = "server@acme-ml-dev.iam.gserviceaccount.com"
    ml-pipeline-ui  = "ui@acme-ml-dev.iam.gserviceaccount.com"
    pipeline-runner = "runner@acme-ml-dev.iam.gserviceaccount.com"
    secret-reader   = "secrets@acme-ml-dev.iam.gserviceaccount.com"
  }
}

run "the_example_works" {
  command = apply
  module {
    source = "./examples/basic"
  }
  assert {
    condition     = contains(split("\n", output.parameters), "account-pipeline-runner=kfgcp-kfp-runner@acme-ml-dev.iam.gserviceaccount.com")
    error_message = "The overlay is told whom the pods of tasks are bound to."
  }
}

run "the_cluster_is_private_and_knows_pods_by_identity" {
  command = plan
  assert {
    condition     = google_container_cluster.this.location == "europe-west4" && google_container_cluster.this.private_cluster_config[0].enable_private_nodes && google_container_cluster.this.private_cluster_config[0].enable_private_endpoint
    error_message = "Regional, without public addresses when nobody is let in."
  }
  assert {
    condition     = google_container_cluster.this.workload_identity_config[0].workload_pool == "acme-ml-dev.svc.id.goog" && google_container_cluster.this.datapath_provider == "ADVANCED_DATAPATH" && !google_container_cluster.this.master_auth[0].client_certificate_config[0].issue_client_certificate
    error_message = "Workload Identity, enforced network policies, no client certificates."
  }
  assert {
    condition     = alltrue([for pool in google_container_node_pool.this : one(pool.node_config[0].shielded_instance_config).enable_secure_boot && one(pool.node_config[0].workload_metadata_config).mode == "GKE_METADATA" && pool.node_config[0].service_account == var.node_service_account])
    error_message = "Nodes are shielded, hide their own credentials, and have an account of their own."
  }
  assert {
    condition     = google_container_cluster.this.deletion_protection && google_sql_database_instance.this.deletion_protection && google_sql_database_instance.this.settings[0].deletion_protection_enabled
    error_message = "What holds data is protected."
  }
}

run "the_control_plane_is_reached_from_named_ranges_only" {
  command = plan
  variables {
    admins_from = { office = "203.0.113.0/24" }
  }
  assert {
    condition     = !google_container_cluster.this.private_cluster_config[0].enable_private_endpoint && [for block in google_container_cluster.this.master_authorized_networks_config[0].cidr_blocks : block.cidr_block] == ["203.0.113.0/24"]
    error_message = "The office, and nobody else."
  }
}

run "tasks_cost_nothing_while_none_runs" {
  command = plan
  assert {
    condition     = google_container_node_pool.this["tasks"].autoscaling[0].total_min_node_count == 0 && google_container_node_pool.this["tasks"].autoscaling[0].total_max_node_count == 5
    error_message = "From no node to five in the whole region."
  }
  assert {
    condition     = google_container_node_pool.this["tasks"].node_config[0].resource_labels["cost_center"] == "ml" && google_container_cluster.this.cost_management_config[0].enabled
    error_message = "The cost of nodes is attributed, and inside the cluster to namespaces."
  }
}

run "the_database_has_no_public_address_and_is_backed_up" {
  command = plan
  assert {
    condition     = !google_sql_database_instance.this.settings[0].ip_configuration[0].ipv4_enabled && google_sql_database_instance.this.settings[0].connector_enforcement == "REQUIRED"
    error_message = "Private, by a connector only."
  }
  assert {
    condition     = google_sql_database_instance.this.settings[0].backup_configuration[0].enabled && google_sql_database_instance.this.settings[0].backup_configuration[0].binary_log_enabled && google_sql_database_instance.this.settings[0].backup_configuration[0].backup_retention_settings[0].retained_backups == 14
    error_message = "Daily, and to any moment."
  }
  assert {
    condition     = jsondecode(base64decode(google_cloud_scheduler_job.dump.http_target[0].body)).exportContext.uri == "gs://acme-ml-dev-kubeflow/dumps/kubeflow.sql.gz"
    error_message = "A dump in the bucket outlives the instance."
  }
  assert {
    condition     = google_storage_managed_folder_iam_member.dump.managed_folder == "dumps/"
    error_message = "The instance writes to its folder."
  }
  assert {
    condition     = one(one(google_gke_backup_backup_plan.this.backup_config).selected_namespaces).namespaces == tolist(["kubeflow"]) && !one(google_gke_backup_backup_plan.this.backup_config).include_secrets
    error_message = "The namespace is backed up, its secrets are not copied about."
  }
}

run "backups_are_made_while_nothing_rests" {
  command = plan
  variables {
    working_hours          = { start = "0 7 * * 1-5", stop = "0 20 * * 1-5" }
    switch_service_account = "switch@acme-ml-dev.iam.gserviceaccount.com"
    backup_hour            = 9
  }
  assert {
    condition     = google_sql_database_instance.this.settings[0].backup_configuration[0].start_time == "09:00" && one(google_gke_backup_backup_plan.this.backup_schedule).cron_schedule == "30 9 * * 1-5" && google_cloud_scheduler_job.dump.schedule == "0 12 * * 1-5"
    error_message = "Instance, namespace and dump, in that order, on the days of work."
  }
}

run "half_an_hour_is_no_hour" {
  command = plan
  variables {
    backup_hour = 1.5
  }
  expect_failures = [var.backup_hour]
}

run "terraform_makes_boxes_for_secrets_and_no_secret" {
  command = apply
  assert {
    condition     = toset(keys(google_secret_manager_secret.this)) == toset(["database", "object-store", "oauth-client"])
    error_message = "Three boxes."
  }
  assert {
    condition     = alltrue([for grant in google_secret_manager_secret_iam_member.reader : grant.member == "serviceAccount:secrets@acme-ml-dev.iam.gserviceaccount.com" && grant.role == "roles/secretmanager.secretAccessor"])
    error_message = "One account reads them."
  }
}

run "the_kill_switch_leaves_no_node_and_no_database_running" {
  command = plan
  variables {
    stopped = true
  }
  assert {
    condition     = alltrue([for pool in google_container_node_pool.this : pool.node_count == 0 && length(pool.autoscaling) == 0]) && google_sql_database_instance.this.settings[0].activation_policy == "NEVER"
    error_message = "Nothing that costs by the hour is left, and no autoscaler to bring it back."
  }
}

run "working_hours_stop_in_an_order_that_works" {
  command = plan
  variables {
    working_hours          = { start = "5 7 * * 1-5", stop = "0 20 * * 1-5", time_zone = "Europe/Berlin" }
    switch_service_account = "switch@acme-ml-dev.iam.gserviceaccount.com"
  }
  assert {
    condition = { for key, job in google_cloud_scheduler_job.switch : key => job.schedule } == {
      stop-1-scaling-system = "0 20 * * 1-5", stop-2-scaling-tasks = "10 20 * * 1-5", stop-3-nodes-system = "20 20 * * 1-5",
      stop-4-nodes-tasks    = "35 20 * * 1-5", stop-5-database = "50 20 * * 1-5",
      start-1-database      = "5 7 * * 1-5", start-2-nodes = "10 7 * * 1-5", start-3-scaling = "25 7 * * 1-5", start-4-scaling-tasks = "35 7 * * 1-5"
    }
    error_message = "Autoscaling, nodes, database; and back."
  }
  assert {
    condition     = google_cloud_scheduler_job.switch["stop-3-nodes-system"].http_target[0].uri == "https://container.googleapis.com/v1/projects/acme-ml-dev/locations/europe-west4/clusters/kfgcp-kubeflow/nodePools/system:setSize"
    error_message = "The method of the GKE API."
  }
}

run "hours_that_start_late_in_an_hour_are_refused" {
  command = plan
  variables {
    working_hours          = { start = "30 7 * * 1-5", stop = "0 20 * * 1-5" }
    switch_service_account = "switch@acme-ml-dev.iam.gserviceaccount.com"
  }
  expect_failures = [google_cloud_scheduler_job.switch]
}

run "working_hours_without_an_account_are_refused" {
  command = plan
  variables {
    working_hours = { start = "0 7 * * 1-5", stop = "0 20 * * 1-5" }
  }
  expect_failures = [var.switch_service_account]
}

run "the_whole_internet_is_no_admin" {
  command = plan
  variables {
    admins_from = { everybody = "0.0.0.0/0" }
  }
  expect_failures = [var.admins_from]
}

run "the_public_gets_through_no_proxy" {
  command = plan
  variables {
    users = { everybody = "allAuthenticatedUsers" }
  }
  expect_failures = [var.users]
}

run "a_pod_without_an_account_is_refused" {
  command = plan
  variables {
    pod_service_accounts = { ml-pipeline = "server@acme-ml-dev.iam.gserviceaccount.com" }
  }
  expect_failures = [var.pod_service_accounts]
}

run "a_group_that_the_cluster_cannot_know_is_refused" {
  command = plan
  variables {
    viewers_group = "growth@acme.example"
  }
  expect_failures = [var.viewers_group]
}
