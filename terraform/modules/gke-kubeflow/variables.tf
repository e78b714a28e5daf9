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

variable "kms_key" {
  type        = string
  description = "Key of Cloud KMS that encrypts what is stored; Google's own when null. Its service agent needs roles/cloudkms.cryptoKeyEncrypterDecrypter on it."
  default     = null
  validation {
    condition     = var.kms_key == null || can(regex("^projects/[^/]+/locations/[^/]+/keyRings/[^/]+/cryptoKeys/[^/]+$", var.kms_key))
    error_message = "kms_key is projects/P/locations/L/keyRings/R/cryptoKeys/K."
  }
}

variable "ranges" {
  type = object({
    nodes    = optional(string, "10.30.0.0/22")
    pods     = optional(string, "10.32.0.0/16")
    services = optional(string, "10.31.0.0/20")
    control  = optional(string, "172.16.30.0/28")
    database = optional(string, "10.33.0.0")
  })
  description = "Ranges of the network: nodes, pods, services, the control plane (a /28), and the address at which the /20 of the database begins."
  default     = {}
  validation {
    condition     = alltrue([for range in [var.ranges.nodes, var.ranges.pods, var.ranges.services, var.ranges.control] : can(cidrhost(range, 0))]) && endswith(var.ranges.control, "/28")
    error_message = "Ranges are of IPv4, as 10.30.0.0/22; that of the control plane is a /28."
  }
}

variable "admins_from" {
  type        = map(string)
  description = "Name -> range from which kubectl may reach the control plane; nobody from outside of the network when empty."
  default     = {}
  validation {
    condition     = alltrue([for range in values(var.admins_from) : can(cidrhost(range, 0)) && !endswith(range, "/0")])
    error_message = "A range is of IPv4 and not the whole internet."
  }
}

variable "node_service_account" {
  type        = string
  description = "Email of the service account of the nodes."
  validation {
    condition     = can(regex("^[^@/]+@[^@/]+$", var.node_service_account))
    error_message = "node_service_account is an email."
  }
}

variable "pod_service_accounts" {
  type        = map(string)
  description = "Kubernetes service account in the namespace kubeflow -> email of the service account that it is bound to: `pods` of the module identities."
  validation {
    condition     = length(setsubtract(["cloudsql-proxy", "ml-pipeline", "ml-pipeline-ui", "pipeline-runner", "secret-reader"], keys(var.pod_service_accounts))) == 0
    error_message = "cloudsql-proxy, ml-pipeline, ml-pipeline-ui, pipeline-runner and secret-reader need an account each."
  }
}

variable "dump_service_account" {
  type        = string
  description = "Email of the service account that has the database dumped into the bucket every day."
  validation {
    condition     = can(regex("^[^@/]+@[^@/]+$", var.dump_service_account))
    error_message = "dump_service_account is an email."
  }
}

variable "bucket" {
  type        = string
  description = "Bucket, without gs://, for artifacts, logs and dumps."
  validation {
    condition     = can(regex("^[a-z0-9][a-z0-9._-]+[a-z0-9]$", var.bucket))
    error_message = "bucket is the name of a bucket, without gs://."
  }
}

variable "host" {
  type        = string
  description = "Name in DNS of the user interface and the API, as kfp.acme.example; its A record must lead to the output `address`."
  validation {
    condition     = can(regex("^[a-z0-9-]+(\\.[a-z0-9-]+)+$", var.host))
    error_message = "host is a name in DNS, without https://."
  }
}

variable "users" {
  type        = map(string)
  description = "Who gets through Identity-Aware Proxy, by names of your own: group:NAME@DOMAIN, user:NAME@DOMAIN or serviceAccount:EMAIL."
  default     = {}
  validation {
    condition     = alltrue([for user in values(var.users) : can(regex("^(group|user|serviceAccount):[^@]+@[^@]+$", user))])
    error_message = "A user is group:, user: or serviceAccount: and an address; the public is refused."
  }
}

variable "system_pool" {
  type        = object({ machine_type = optional(string, "e2-standard-4"), nodes = optional(number, 1) })
  description = "Nodes, in each of the region's zones, for Kubeflow Pipelines itself."
  default     = {}
  validation {
    condition     = var.system_pool.nodes >= 1
    error_message = "There is at least one node a zone; `stopped` turns all of them off."
  }
}

variable "task_pool" {
  type = object({
    machine_type = optional(string, "e2-standard-8")
    max_nodes    = optional(number, 5)
    spot         = optional(bool, false)
    accelerator  = optional(string)
    accelerators = optional(number, 1)
  })
  description = "Nodes for tasks: none while nothing runs, at most max_nodes in all; spot machines are cheaper and may be taken away."
  default     = {}
  validation {
    condition     = var.task_pool.max_nodes >= 1 && var.task_pool.max_nodes <= 100
    error_message = "max_nodes is 1 to 100."
  }
}

variable "database" {
  type = object({
    tier         = optional(string, "db-g1-small")
    disk_gb      = optional(number, 20)
    highly_ready = optional(bool, false)
    backups      = optional(number, 14)
  })
  description = "Cloud SQL for MySQL: its machine, its disk, whether a second zone stands by, and how many daily backups are kept."
  default     = {}
  validation {
    condition     = var.database.backups >= 7 && var.database.backups <= 365
    error_message = "7 to 365 backups are kept."
  }
}

variable "working_hours" {
  type        = object({ start = string, stop = string, time_zone = optional(string, "Etc/UTC") })
  description = "When the nodes and the database start and stop, as unix-cron; null: they always run."
  default     = null
  validation {
    condition     = var.working_hours == null ? true : length(split(" ", var.working_hours.start)) == 5 && length(split(" ", var.working_hours.stop)) == 5
    error_message = "start and stop have five fields, as 0 7 * * 1-5."
  }
}

variable "switch_service_account" {
  type        = string
  description = "Email of the service account that starts and stops; needed for working_hours."
  default     = null
  validation {
    condition     = var.working_hours == null || var.switch_service_account != null
    error_message = "working_hours need switch_service_account."
  }
}

variable "stopped" {
  type        = bool
  description = "The kill switch: no nodes and no database until it is false again. Data stays."
  default     = false
}

variable "backup_days" {
  type        = number
  description = "Days that backups of the namespace kubeflow are kept."
  default     = 30
  validation {
    condition     = var.backup_days >= 1 && var.backup_days <= 365
    error_message = "backup_days is 1 to 365."
  }
}

variable "backup_hour" {
  type        = number
  description = "Hour (UTC) in which backups begin; the dump of the database follows three hours later. With working_hours it is one of them, and backups are made on their days: nothing can be backed up that rests."
  default     = 1
  validation {
    condition     = var.backup_hour >= 0 && var.backup_hour <= 20 && floor(var.backup_hour) == var.backup_hour
    error_message = "backup_hour is a whole number from 0 to 20."
  }
}

variable "release_channel" {
  type        = string
  description = "Release channel of GKE: REGULAR or STABLE."
  default     = "STABLE"
  validation {
    condition     = contains(["REGULAR", "STABLE"], var.release_channel)
    error_message = "release_channel is REGULAR or STABLE."
  }
}

variable "security_group" {
  type        = string
  description = "Group gke-security-groups@DOMAIN, whose members' groups can be named in RBAC; null without."
  default     = null
  validation {
    condition     = var.security_group == null ? true : startswith(var.security_group, "gke-security-groups@")
    error_message = "Google wants the group to be called gke-security-groups@DOMAIN."
  }
}

variable "viewers_group" {
  type        = string
  description = "Google group that may look at pods and logs of the namespace with kubectl; needs security_group. Nobody when null."
  default     = null
  validation {
    condition     = var.viewers_group == null || var.security_group != null
    error_message = "Groups are known to the cluster only with security_group."
  }
}

variable "deletion_protection" {
  type        = bool
  description = "Whether Terraform, and Cloud SQL itself, refuse to destroy the cluster and the database."
  default     = true
}
