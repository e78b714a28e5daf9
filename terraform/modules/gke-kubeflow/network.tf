# A network of its own: nodes have no public address and reach the internet, for images, by NAT.

resource "google_compute_network" "this" {
  project                 = var.project
  name                    = local.name
  auto_create_subnetworks = false
}

resource "google_compute_subnetwork" "this" {
  project                  = var.project
  name                     = local.name
  region                   = var.location
  network                  = google_compute_network.this.id
  ip_cidr_range            = var.ranges.nodes
  private_ip_google_access = true

  secondary_ip_range {
    range_name    = "pods"
    ip_cidr_range = var.ranges.pods
  }
  secondary_ip_range {
    range_name    = "services"
    ip_cidr_range = var.ranges.services
  }
  log_config {
    aggregation_interval = "INTERVAL_10_MIN"
    flow_sampling        = 0.5
    metadata             = "INCLUDE_ALL_METADATA"
  }
}

resource "google_compute_router" "this" {
  project = var.project
  name    = local.name
  region  = var.location
  network = google_compute_network.this.id
}

resource "google_compute_router_nat" "this" {
  project                            = var.project
  name                               = local.name
  region                             = var.location
  router                             = google_compute_router.this.name
  nat_ip_allocate_option             = "AUTO_ONLY"
  source_subnetwork_ip_ranges_to_nat = "ALL_SUBNETWORKS_ALL_IP_RANGES"
  log_config {
    enable = true
    filter = "ERRORS_ONLY"
  }
}

resource "google_compute_global_address" "database" {
  project       = var.project
  name          = "${local.name}-database"
  purpose       = "VPC_PEERING"
  address_type  = "INTERNAL"
  address       = var.ranges.database
  prefix_length = 20
  network       = google_compute_network.this.id
  labels        = local.labels
}

resource "google_service_networking_connection" "database" {
  network                 = google_compute_network.this.id
  service                 = "servicenetworking.googleapis.com"
  reserved_peering_ranges = [google_compute_global_address.database.name]
}

resource "google_compute_global_address" "ingress" {
  project = var.project
  name    = local.name
  labels  = local.labels
}

# Identity-Aware Proxy is switched on by the overlay's BackendConfig; whom it lets in is said here. The
# backend service gets its name from the ingress, so the grant is on all of Compute Engine's; Cloud Run is not among them.
resource "google_iap_web_type_compute_iam_member" "users" {
  for_each = var.users
  project  = var.project
  role     = "roles/iap.httpsResourceAccessor"
  member   = each.value
}
