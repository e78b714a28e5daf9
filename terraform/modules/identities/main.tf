# One service account for each role of roles.tf, without keys, and what it may do in the project. What it may do with a
# bucket or a repository is an output, `grants`, which the modules that make those take as their `iam`.

locals {
  namespace = "kubeflow"
  chosen    = { for name, account in local.accounts : name => account if account.part == "always" || contains(var.parts, account.part) }
  accounts_by_team = merge([for name, account in local.chosen : name == "runner"
    ? { for team in keys(var.teams) : "runner-${team}" => merge(account, { role = name, team = team }) }
    : { (name) = merge(account, { role = name, team = null }) }
  ]...)
  people_by_team = merge(
    merge([for team, members in var.teams : { for member in members : "${team}/${member}" => merge(local.people.member, { team = team, member = member }) }]...),
    { for member in var.viewers : "viewers/${member}" => merge(local.people.viewer, { team = null, member = member }) },
  )
  principals = merge(
    { for name, account in local.accounts_by_team : name => merge(account, { member = "serviceAccount:${local.emails[name]}" }) },
    local.people_by_team,
  )
  # Google makes emails by this rule, so a plan shows them before the accounts are there.
  emails = { for name in keys(local.accounts_by_team) : name => "${var.prefix}-${name}@${var.project}.iam.gserviceaccount.com" }
  names  = merge(local.accounts_by_team, local.people_by_team)
  project_grants = merge([for name, principal in local.names : {
    for role in principal.project : "${name}:${role}" => { name = name, role = role }
  }]...)
  # Who belongs to no team, as the submitter, gets the folders of all teams.
  target_grants = flatten([for name, principal in local.names : [
    for target, roles in principal.on : [
      for team in(!strcontains(target, "TEAM") ? [""] : principal.team == null ? keys(var.teams) : [principal.team]) : [
        for role in roles : { target = replace(target, "TEAM", team), name = name, role = role }
      ]
    ]
  ]])
  acting = merge([for name, principal in local.names : {
    for team in(principal.team == null ? keys(var.teams) : [principal.team]) : "${name}:runner-${team}" => { name = name, runner = "runner-${team}" }
    if contains(principal.acts_as, "runner")
  }]...)
  pods = merge([for name, account in local.accounts_by_team : {
    for pod in account.pods : pod => name
  }]...)
  custom_used = toset([for grant in concat(values(local.project_grants), local.target_grants) : trimprefix(grant.role, "custom/") if startswith(grant.role, "custom/")])
}

resource "google_service_account" "this" {
  for_each     = local.accounts_by_team
  project      = var.project
  account_id   = "${var.prefix}-${each.key}"
  display_name = "${var.prefix} ${each.key}"
  description  = each.value.purpose
}

resource "google_project_iam_custom_role" "this" {
  for_each    = local.custom_used
  project     = var.project
  role_id     = "${replace(var.prefix, "-", "_")}_${each.key}"
  title       = local.custom_roles[each.key].title
  permissions = local.custom_roles[each.key].permissions
}

resource "google_project_iam_member" "this" {
  for_each = local.project_grants
  project  = var.project
  role     = startswith(each.value.role, "custom/") ? google_project_iam_custom_role.this[trimprefix(each.value.role, "custom/")].name : each.value.role
  member   = local.principals[each.value.name].member

  depends_on = [google_service_account.this]
}

# To act as a runner is granted on that runner, never on the project, where it would mean every service account.
resource "google_service_account_iam_member" "act_as" {
  for_each           = local.acting
  service_account_id = google_service_account.this[each.value.runner].name
  role               = "roles/iam.serviceAccountUser"
  member             = local.principals[each.value.name].member
}

resource "google_service_account_iam_member" "pod" {
  for_each           = local.pods
  service_account_id = google_service_account.this[each.value].name
  role               = "roles/iam.workloadIdentityUser"
  member             = "serviceAccount:${var.project}.svc.id.goog[${local.namespace}/${each.key}]"
}

resource "google_iam_workload_identity_pool" "this" {
  count                     = var.federation == null ? 0 : 1
  project                   = var.project
  workload_identity_pool_id = "${var.prefix}-ci"
  description               = "A CI system outside of Google, without keys"
}

resource "google_iam_workload_identity_pool_provider" "this" {
  count                              = var.federation == null ? 0 : 1
  project                            = var.project
  workload_identity_pool_id          = google_iam_workload_identity_pool.this[0].workload_identity_pool_id
  workload_identity_pool_provider_id = "oidc"
  attribute_mapping                  = var.federation.mapping
  attribute_condition                = var.federation.condition
  oidc {
    issuer_uri        = var.federation.issuer_uri
    allowed_audiences = var.federation.audiences
  }
}

resource "google_service_account_iam_member" "federated" {
  count              = var.federation == null ? 0 : 1
  service_account_id = google_service_account.this["submitter"].name
  role               = "roles/iam.workloadIdentityUser"
  member             = "principalSet://iam.googleapis.com/${google_iam_workload_identity_pool.this[0].name}/attribute.${var.federation.attribute}"
}
