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

variable "labels" {
  type        = map(string)
  description = "Labels of every resource, by which its cost is attributed; environment and cost_center must be among them."
  validation {
    condition     = contains(keys(var.labels), "environment") && contains(keys(var.labels), "cost_center")
    error_message = "labels need environment and cost_center, or nobody can say whose cost it is."
  }
  validation {
    condition     = alltrue([for key, value in var.labels : can(regex("^[a-z][a-z0-9_-]{0,62}$", key)) && can(regex("^[a-z0-9_-]{0,63}$", value))])
    error_message = "Keys and values of labels have up to 63 lowercase letters, digits, _ and -; a key starts with a letter."
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

variable "service_account" {
  type        = string
  description = "Email of the service account that starts the runs."
  validation {
    condition     = can(regex("^[^@/]+@[^@/]+$", var.service_account))
    error_message = "service_account is an email."
  }
}

variable "schedules" {
  type = map(object({
    cron         = string
    time_zone    = optional(string, "Etc/UTC")
    template     = string
    runner       = string
    root         = string
    params       = optional(string, "{}")
    experiment   = optional(string, "default")
    failure_slow = optional(bool, true)
    network      = optional(string)
    psc          = optional(string)
    kms_key      = optional(string)
    labels       = optional(map(string), {})
    paused       = optional(bool, false)
  }))
  description = "Schedules by name: when (unix-cron), which compiled pipeline (URI of a template in Artifact Registry, with a tag or digest), as whom its tasks run, where its artifacts go, and its parameters, as jsonencode({...})."
  default     = {}
  validation {
    condition     = alltrue([for name in keys(var.schedules) : can(regex("^[a-z][a-z0-9-]{0,40}$", name))])
    error_message = "A schedule's name has up to 41 lowercase letters, digits and hyphens."
  }
  validation {
    condition     = alltrue([for schedule in values(var.schedules) : length(split(" ", schedule.cron)) == 5])
    error_message = "cron has five fields, as 0 6 * * 1-5."
  }
  validation {
    condition     = alltrue([for schedule in values(var.schedules) : can(regex("^https://[a-z0-9-]+-kfp\\.pkg\\.dev/[^/]+/[^/]+/[^/]+/.+$", schedule.template))])
    error_message = "template is https://LOCATION-kfp.pkg.dev/PROJECT/REPOSITORY/PIPELINE/TAG, or sha256:DIGEST in place of the tag."
  }
  validation {
    condition     = alltrue([for schedule in values(var.schedules) : can(keys(jsondecode(schedule.params)))])
    error_message = "params is a JSON object: write jsonencode({ name = value })."
  }
  validation {
    condition     = alltrue([for schedule in values(var.schedules) : startswith(schedule.root, "gs://")])
    error_message = "root is gs://BUCKET/FOLDER."
  }
}
