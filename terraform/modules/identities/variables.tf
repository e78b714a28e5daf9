variable "project" {
  type        = string
  description = "Id of the project."
  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{4,28}[a-z0-9]$", var.project))
    error_message = "A project id has 6 to 30 lowercase letters, digits and hyphens, and starts with a letter."
  }
}

variable "prefix" {
  type        = string
  description = "What the names of the resources begin with."
  default     = "kfgcp"
  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,8}[a-z0-9]$", var.prefix))
    error_message = "prefix has 3 to 10 lowercase letters, digits and hyphens, and starts with a letter."
  }
}

variable "teams" {
  type        = map(list(string))
  description = "Team -> its members, as group:NAME@DOMAIN or user:NAME@DOMAIN. Each team has a runner and a folder of its own; its members may act as that runner and no other."
  validation {
    condition     = alltrue([for team in keys(var.teams) : can(regex("^[a-z][a-z0-9-]{1,10}[a-z0-9]$", team))]) && length(var.teams) > 0
    error_message = "There is at least one team; a team's name has 3 to 12 lowercase letters, digits and hyphens."
  }
  validation {
    condition     = alltrue(flatten([for members in values(var.teams) : [for member in members : can(regex("^(group|user):[^@]+@[^@]+$", member))]]))
    error_message = "A member is group:NAME@DOMAIN or user:NAME@DOMAIN; service accounts and the public are refused."
  }
}

variable "viewers" {
  type        = list(string)
  description = "Who may look at runs, logs and metrics and change nothing, as group:NAME@DOMAIN or user:NAME@DOMAIN."
  default     = []
  validation {
    condition     = alltrue([for member in var.viewers : can(regex("^(group|user):[^@]+@[^@]+$", member))])
    error_message = "A viewer is group:NAME@DOMAIN or user:NAME@DOMAIN; the public is refused."
  }
}

variable "parts" {
  type        = set(string)
  description = "Parts of the environment that get identities: ci, dashboard, kubeflow, scheduler, submitter."
  default     = []
  validation {
    condition     = length(setsubtract(var.parts, ["ci", "dashboard", "kubeflow", "scheduler", "submitter"])) == 0
    error_message = "parts may hold ci, dashboard, kubeflow, scheduler and submitter."
  }
}

variable "federation" {
  type = object({
    issuer_uri = string
    audiences  = optional(list(string), [])
    mapping    = optional(map(string), { "google.subject" = "assertion.sub", "attribute.repository" = "assertion.repository" })
    condition  = string
    attribute  = string
  })
  description = "A CI system outside of Google that acts as the submitter without a key: its OIDC issuer, the condition (CEL) that its tokens must meet, and the attribute that is let in, such as repository/acme/pipelines."
  default     = null
  validation {
    condition     = var.federation == null ? true : startswith(var.federation.issuer_uri, "https://") && can(regex("\\b(assertion|attribute|google)\\.", var.federation.condition))
    error_message = "The issuer is an https URL, and a condition that looks at the token is needed: without one, all who use the issuer come in."
  }
  validation {
    condition     = var.federation == null ? true : can(regex("^[a-z_]+/[^*]+$", var.federation.attribute))
    error_message = "attribute is NAME/VALUE, such as repository/acme/pipelines; a star would let everybody in."
  }
  validation {
    condition     = var.federation == null ? true : contains(keys(var.federation.mapping), "attribute.${split("/", var.federation.attribute)[0]}")
    error_message = "mapping makes no such attribute, so nobody would be let in: it needs the key attribute.NAME."
  }
  validation {
    condition     = var.federation == null || contains(var.parts, "submitter")
    error_message = "Federation is for the submitter: put it into parts."
  }
}
