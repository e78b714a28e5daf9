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

variable "keep_recent" {
  type        = number
  description = "Newest versions of each image or pipeline that are never cleaned up."
  default     = 10
  validation {
    condition     = var.keep_recent >= 1
    error_message = "At least the newest version is kept."
  }
}

variable "delete_untagged_after_days" {
  type        = number
  description = "Days after which a version that no tag names is deleted."
  default     = 14
  validation {
    condition     = var.delete_untagged_after_days >= 1
    error_message = "It is 1 day or more."
  }
}

variable "cleanup_dry_run" {
  type        = bool
  description = "Whether clean-up only logs what it would delete."
  default     = false
}

variable "immutable_tags" {
  type        = bool
  description = "Whether a tag of an image, once set, stays where it is."
  default     = false
}

variable "iam" {
  type        = map(map(object({ role = string, member = string })))
  description = "Who may do what: repository, docker or kfp, to grants by names of their own."
  default     = {}
  validation {
    condition     = length(setsubtract(keys(var.iam), ["docker", "kfp"])) == 0
    error_message = "The repositories are docker and kfp."
  }
  validation {
    condition     = alltrue(flatten([for grants in values(var.iam) : [for grant in values(grants) : !contains(["allUsers", "allAuthenticatedUsers"], grant.member)]]))
    error_message = "Nothing is public: a member is a user, group, service account or principal set."
  }
  validation {
    condition     = alltrue(flatten([for grants in values(var.iam) : [for grant in values(grants) : !contains(["roles/owner", "roles/editor", "roles/viewer"], grant.role)]]))
    error_message = "Primitive roles are refused."
  }
}
