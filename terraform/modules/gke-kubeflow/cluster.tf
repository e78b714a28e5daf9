# A private regional cluster. Two pools: one for Kubeflow Pipelines, one for tasks, which is empty while nothing runs.

locals {
  pools = {
    system = { machine_type = var.system_pool.machine_type, min = var.system_pool.nodes, max = var.system_pool.nodes + 1, spot = false, accelerator = null, total = false }
    tasks  = { machine_type = var.task_pool.machine_type, min = 0, max = var.task_pool.max_nodes, spot = var.task_pool.spot, accelerator = var.task_pool.accelerator, total = true }
  }
}

resource "google_container_cluster" "this" {
  project             = var.project
  name                = local.name
  location            = var.location
  description         = "Kubeflow Pipelines"
  network             = google_compute_network.this.id
  subnetwork          = google_compute_subnetwork.this.id
  networking_mode     = "VPC_NATIVE"
  resource_labels     = local.labels
  deletion_protection = var.deletion_protection

  # Pools are resources of their own, so that one can be replaced without the cluster.
  remove_default_node_pool = true
  initial_node_count       = 1

  datapath_provider           = "ADVANCED_DATAPATH" # enforces network policies
  enable_shielded_nodes       = true
  enable_intranode_visibility = true
  enable_legacy_abac          = false

  node_config { # of the pool that is removed at once
    service_account = var.node_service_account
    oauth_scopes    = ["https://www.googleapis.com/auth/cloud-platform"]
    shielded_instance_config {
      enable_secure_boot          = true
      enable_integrity_monitoring = true
    }
    workload_metadata_config {
      mode = "GKE_METADATA"
    }
  }
  private_cluster_config {
    enable_private_nodes    = true
    enable_private_endpoint = length(var.admins_from) == 0
    master_ipv4_cidr_block  = var.ranges.control
  }
  master_authorized_networks_config {
    gcp_public_cidrs_access_enabled = false
    dynamic "cidr_blocks" {
      for_each = var.admins_from
      content {
        display_name = cidr_blocks.key
        cidr_block   = cidr_blocks.value
      }
    }
  }
  ip_allocation_policy {
    cluster_secondary_range_name  = "pods"
    services_secondary_range_name = "services"
  }
  workload_identity_config {
    workload_pool = "${var.project}.svc.id.goog"
  }
  release_channel {
    channel = var.release_channel
  }
  master_auth {
    client_certificate_config {
      issue_client_certificate = false
    }
  }
  dynamic "authenticator_groups_config" {
    for_each = var.security_group == null ? [] : [var.security_group]
    content {
      security_group = authenticator_groups_config.value
    }
  }
  dynamic "database_encryption" {
    for_each = var.kms_key == null ? [] : [var.kms_key]
    content {
      state    = "ENCRYPTED"
      key_name = database_encryption.value
    }
  }
  addons_config {
    gke_backup_agent_config {
      enabled = true
    }
    http_load_balancing {
      disabled = false
    }
    gcs_fuse_csi_driver_config {
      enabled = true
    }
  }
  binary_authorization {
    evaluation_mode = "PROJECT_SINGLETON_POLICY_ENFORCE"
  }
  cost_management_config {
    enabled = true
  }
  logging_config {
    enable_components = ["SYSTEM_COMPONENTS", "WORKLOADS"]
  }
  monitoring_config {
    enable_components = ["SYSTEM_COMPONENTS"]
    managed_prometheus {
      enabled = true
    }
  }
  security_posture_config {
    mode               = "BASIC"
    vulnerability_mode = "VULNERABILITY_BASIC"
  }
  maintenance_policy {
    recurring_window {
      start_time = "2026-01-03T02:00:00Z"
      end_time   = "2026-01-03T08:00:00Z"
      recurrence = "FREQ=WEEKLY;BYDAY=SA,SU"
    }
  }
  lifecycle {
    # Google tells the first pool's configuration here, and what differs would replace the cluster.
    ignore_changes = [node_config]
  }
}

resource "google_container_node_pool" "this" {
  for_each   = local.pools
  project    = var.project
  name       = each.key
  cluster    = google_container_cluster.this.name
  location   = var.location
  node_count = var.stopped ? 0 : null

  initial_node_count = var.stopped ? null : each.value.min

  dynamic "autoscaling" {
    for_each = var.stopped ? [] : [each.value]
    content {
      location_policy      = each.value.total ? "ANY" : "BALANCED"
      min_node_count       = each.value.total ? null : each.value.min
      max_node_count       = each.value.total ? null : each.value.max
      total_min_node_count = each.value.total ? each.value.min : null
      total_max_node_count = each.value.total ? each.value.max : null
    }
  }
  management {
    auto_repair  = true
    auto_upgrade = true
  }
  node_config {
    machine_type    = each.value.machine_type
    service_account = var.node_service_account
    oauth_scopes    = ["https://www.googleapis.com/auth/cloud-platform"] # what the account may do is said by its roles
    spot            = each.value.spot
    image_type      = "COS_CONTAINERD"
    labels          = { pool = each.key }
    resource_labels = merge(local.labels, { pool = each.key })
    metadata        = { disable-legacy-endpoints = "true" }

    dynamic "guest_accelerator" {
      for_each = each.value.accelerator == null ? [] : [each.value.accelerator]
      content {
        type  = guest_accelerator.value
        count = var.task_pool.accelerators
        gpu_driver_installation_config {
          gpu_driver_version = "DEFAULT"
        }
      }
    }
    shielded_instance_config {
      enable_secure_boot          = true
      enable_integrity_monitoring = true
    }
    workload_metadata_config {
      mode = "GKE_METADATA"
    }
  }
  lifecycle {
    ignore_changes = [initial_node_count]
  }
}
