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

variable "notification_channels" {
  type        = list(string)
  description = "Notification channels of Cloud Monitoring that alerts go to."
  default     = []
  validation {
    condition     = alltrue([for channel in var.notification_channels : can(regex("^projects/[^/]+/notificationChannels/[^/]+$", channel))])
    error_message = "A channel is projects/P/notificationChannels/ID."
  }
}

variable "metadata_store" {
  type        = bool
  description = "Whether to make the metadata store `default` here. Vertex AI makes it at the first run otherwise, without a key of your own."
  default     = true
}

variable "network" {
  type = object({
    cidr            = optional(string, "10.10.0.0/24")
    psc             = optional(bool, true)
    peering_prefix  = optional(number)
    producer_accept = optional(list(string), [])
  })
  description = "A network for tasks that reach private addresses, or null: the range of its subnet, whether tasks enter it by Private Service Connect, and the prefix length of a range for peering (the older way)."
  default     = null
  validation {
    condition     = var.network == null ? true : can(cidrhost(var.network.cidr, 0))
    error_message = "cidr is a range of IPv4, such as 10.10.0.0/24."
  }
  validation {
    condition     = try(var.network.peering_prefix, null) == null ? true : var.network.peering_prefix >= 16 && var.network.peering_prefix <= 24
    error_message = "peering_prefix is 16 to 24."
  }
}
