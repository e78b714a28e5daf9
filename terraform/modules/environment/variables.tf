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

variable "prefix" {
  type        = string
  description = "What the names of the resources begin with."
  default     = "kfgcp"
  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,8}[a-z0-9]$", var.prefix))
    error_message = "prefix has 3 to 10 lowercase letters, digits and hyphens, and starts with a letter."
  }
}

variable "kms_key" {
  type        = string
  description = "Key of Cloud KMS that encrypts what is stored; Google's own when null. Its service agent needs roles/cloudkms.cryptoKeyEncrypterDecrypter on it."
  default     = null
  validation {
    condition     = var.kms_key == null || can(regex("^projects/[^/]+/locations/[^/]+/keyRings/[^/]+/cryptoKeys/[^/]+$", var.kms_key))
    error_message = "kms_key is projects/P/locations/L/keyRings/R/cryptoKeys/K."
  }
}

variable "environment" {
  type        = string
  description = "Name of the environment, such as dev or prod: a label of everything."
  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{0,30}$", var.environment))
    error_message = "environment has lowercase letters, digits and hyphens."
  }
}

variable "cost_center" {
  type        = string
  description = "Who pays: a label of everything."
  validation {
    condition     = can(regex("^[a-z0-9_-]{1,63}$", var.cost_center))
    error_message = "cost_center has lowercase letters, digits, _ and -."
  }
}

variable "labels" {
  type        = map(string)
  description = "Further labels of everything."
  default     = {}
}

variable "teams" {
  type        = map(list(string))
  description = "Team -> its members, as group:NAME@DOMAIN or user:NAME@DOMAIN. A second team is a second line."
}

variable "viewers" {
  type        = list(string)
  description = "Who may look at runs of Vertex AI and change nothing. Kubeflow for one user cannot tell them from members, so it does not let them in."
  default     = []
}

variable "apis" {
  type        = set(string)
  description = "Further APIs, such as those that tasks call."
  default     = []
}

variable "deletion_protection" {
  type        = bool
  description = "Whether buckets with objects, the cluster, the database and the dashboard refuse to be destroyed."
  default     = true
}

variable "artifact_days" {
  type        = number
  description = "Days after which artifacts of runs are deleted; null: never."
  default     = null
}

variable "immutable_tags" {
  type        = bool
  description = "Whether tags of images stay where they are."
  default     = true
}

variable "network" {
  type        = object({ cidr = optional(string), psc = optional(bool), peering_prefix = optional(number) })
  description = "A network for tasks that reach private addresses, see the module vertex; null for none."
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
  description = "A CI system outside of Google that submits runs without a key, see the module identities; null for none."
  default     = null
}

variable "ci" {
  type        = object({ repository = string, location = optional(string), main_branch = optional(string) })
  description = "The repository that Cloud Build builds, see the module ci; null for none."
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
  description = "Runs on a schedule, see the module scheduler; `template` is PIPELINE/TAG in this environment's registry, or a whole URI."
  default     = {}
  validation {
    condition     = alltrue([for schedule in values(var.schedules) : contains(keys(var.teams), schedule.team)])
    error_message = "team is one of teams."
  }
}

variable "monitoring" {
  type = object({
    emails            = optional(list(string))
    slow_run_seconds  = optional(number)
    slow_task_seconds = optional(number)
    retries_an_hour   = optional(number, 10)
    expected_runs     = optional(map(number))
    quality           = optional(map(object({ pipeline = string, metric = string, below = optional(number), above = optional(number) })))
    budget = optional(object({
      billing_account = string
      amount          = number
      currency        = optional(string)
      thresholds      = optional(list(number))
    }))
  })
  description = "Who is told what, and the budget, see the module monitoring."
  default     = {}
}

variable "dashboard" {
  type        = object({ image = string, users = optional(list(string)) })
  description = "The dashboard on Cloud Run, see the module dashboard; null for none. Members of teams and viewers may open it, and `users`."
  default     = null
}

variable "kubeflow" {
  type = object({
    host           = string
    iap_client_id  = string
    admins_from    = optional(map(string))
    ranges         = optional(map(string))
    system_pool    = optional(object({ machine_type = optional(string), nodes = optional(number) }))
    task_pool      = optional(object({ machine_type = optional(string), max_nodes = optional(number), spot = optional(bool), accelerator = optional(string), accelerators = optional(number) }))
    database       = optional(object({ tier = optional(string), disk_gb = optional(number), highly_ready = optional(bool), backups = optional(number) }))
    working_hours  = optional(object({ start = string, stop = string, time_zone = optional(string) }))
    stopped        = optional(bool)
    backup_hour    = optional(number)
    security_group = optional(string)
    viewers_group  = optional(string)
  })
  description = "Kubeflow Pipelines on GKE, see the module gke-kubeflow; null for none. `iap_client_id` is that of the OAuth client, which is made by hand and without which nobody gets in."
  default     = null
  validation {
    condition     = var.kubeflow == null ? true : endswith(var.kubeflow.iap_client_id, ".apps.googleusercontent.com")
    error_message = "iap_client_id ends in .apps.googleusercontent.com."
  }
}
