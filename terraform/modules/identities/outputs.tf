output "emails" {
  description = "Service account -> its email; runners are runner-TEAM."
  value       = local.emails
  depends_on  = [google_service_account.this]
}

output "runners" {
  description = "Team -> the email of its runner."
  value       = { for team in keys(var.teams) : team => local.emails["runner-${team}"] }
  depends_on  = [google_service_account.this]
}

output "grants" {
  description = "Target -> grants by name, as `iam` of the modules storage and registry: artifacts, artifacts/TEAM, builds, kubeflow, docker, kfp."
  value = { for target in distinct(local.target_grants[*].target) : target => {
    for grant in local.target_grants : "${grant.name}:${grant.role}" => {
      role   = startswith(grant.role, "custom/") ? google_project_iam_custom_role.this[trimprefix(grant.role, "custom/")].name : grant.role
      member = local.principals[grant.name].member
    } if grant.target == target
  } }
  depends_on = [google_service_account.this]
}

output "pods" {
  description = "Kubernetes service account in the namespace kubeflow -> the email of the service account that it is bound to."
  value       = { for pod, name in local.pods : pod => local.emails[name] }
  depends_on  = [google_service_account_iam_member.pod]
}

output "provider" {
  description = "The workload identity provider that the CI system names, or null."
  value       = one(google_iam_workload_identity_pool_provider.this[*].name)
}
