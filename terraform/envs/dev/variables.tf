variable "project" {
  type        = string
  description = "Id of the project."
  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{4,28}[a-z0-9]$", var.project))
    error_message = "A project id has 6 to 30 lowercase letters, digits and hyphens, and starts with a letter."
  }
}

variable "location" {
  type        = string
  description = "Region, such as europe-west4."
  validation {
    condition     = can(regex("^[a-z]+-[a-z]+[0-9]+$", var.location))
    error_message = "location is a region, such as europe-west4."
  }
}

variable "cost_center" {
  type        = string
  description = "Who pays: a label of everything."
}

variable "teams" {
  type        = map(list(string))
  description = "Team -> its members, as group:NAME@DOMAIN or user:NAME@DOMAIN."
}

variable "emails" {
  type        = list(string)
  description = "Addresses that alerts are sent to."
}

variable "budget" {
  type        = object({ billing_account = string, amount = number, currency = optional(string) })
  description = "What the project may cost a month; null for no budget."
  default     = null
}

variable "schedules" {
  type = map(object({
    team      = string
    cron      = string
    time_zone = optional(string)
    template  = string
    params    = optional(string)
    paused    = optional(bool)
  }))
  description = "Runs on a schedule: whose, when, and which pipeline (PIPELINE/TAG in the registry)."
  default     = {}
}

variable "kubeflow" {
  type = object({
    host          = string
    iap_client_id = string
    admins_from   = optional(map(string))
    stopped       = optional(bool)
  })
  description = "Kubeflow Pipelines on GKE; null for none. `stopped = true` is the kill switch."
  default     = null
}

variable "ci_repository" {
  type        = string
  description = "The repository, connected to Cloud Build, that is built; null for none."
  default     = null
}

variable "dashboard_image" {
  type        = string
  description = "Image of the dashboard; null for none."
  default     = null
}

variable "federation" {
  type = object({
    issuer_uri = string
    audiences  = optional(list(string))
    mapping    = optional(map(string))
    condition  = string
    attribute  = string
  })
  description = "A CI system outside of Google that submits runs without a key, see docs/guides/security.md; null for none."
  default     = null
}
