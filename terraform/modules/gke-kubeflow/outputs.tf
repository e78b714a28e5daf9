output "address" {
  description = "Where the A record of the host must lead to."
  value       = google_compute_global_address.ingress.address
}

output "cluster" {
  description = "Name of the cluster, for gcloud container clusters get-credentials."
  value       = google_container_cluster.this.name
}

output "users" {
  description = "Who gets through Identity-Aware Proxy."
  value       = toset([for grant in google_iap_web_type_compute_iam_member.users : grant.member])
}

output "parameters" {
  description = "What the overlay is told, as lines NAME=VALUE: params.env of overlay/render.sh."
  value = join("\n", concat([
    "project=${var.project}",
    "location=${var.location}",
    "bucket=${var.bucket}",
    "host=${var.host}",
    "addressName=${google_compute_global_address.ingress.name}",
    "sqlInstance=${google_sql_database_instance.this.connection_name}",
    "databaseSecret=${google_secret_manager_secret.this["database"].secret_id}",
    "objectStoreSecret=${google_secret_manager_secret.this["object-store"].secret_id}",
    "oauthClientSecret=${google_secret_manager_secret.this["oauth-client"].secret_id}",
    "clusterName=${google_container_cluster.this.name}",
    "controlRange=${var.ranges.control}",
    "viewersGroup=${coalesce(var.viewers_group, "nobody")}",
    ],
    [for pod in sort(keys(var.pod_service_accounts)) : "account-${pod}=${var.pod_service_accounts[pod]}"],
    [""],
  ))
}

output "settings" {
  description = "Keys of kfgcp.toml for the backend kubeflow; iap_client_id is the OAuth client's, which is made by hand."
  value = {
    host          = "https://${var.host}"
    namespace     = "kubeflow"
    pipeline_root = "gs://${var.bucket}/artifacts"
    auth          = "iap"
  }
}
