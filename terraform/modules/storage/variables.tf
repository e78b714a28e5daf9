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

variable "kms_key" {
  type        = string
  description = "Key of Cloud KMS that encrypts what is stored; Google's own when null. Its service agent needs roles/cloudkms.cryptoKeyEncrypterDecrypter on it."
  default     = null
  validation {
    condition     = var.kms_key == null || can(regex("^projects/[^/]+/locations/[^/]+/keyRings/[^/]+/cryptoKeys/[^/]+$", var.kms_key))
    error_message = "kms_key is projects/P/locations/L/keyRings/R/cryptoKeys/K."
  }
}

variable "buckets" {
  type = map(object({
    versioning          = optional(bool, true)
    noncurrent_versions = optional(number, 3)
    noncurrent_days     = optional(number, 30)
    delete_after_days   = optional(number)
    delete_in           = optional(set(string), [])
    nearline_after_days = optional(number)
    soft_delete_days    = optional(number, 7)
    keep                = optional(bool, false)
    folders             = optional(set(string), [])
  }))
  description = "Buckets by the last part of their name, which the project's id precedes: versions and days that objects are kept (`delete_in`: in these folders only, not everywhere; `keep`: with objects in it, it refuses to be destroyed whatever deletion_protection says), and folders with an access of their own."
  validation {
    condition     = alltrue([for name in keys(var.buckets) : can(regex("^[a-z0-9][a-z0-9-]{1,20}[a-z0-9]$", name))])
    error_message = "A bucket's name has 3 to 22 lowercase letters, digits and hyphens."
  }
  validation {
    condition     = alltrue(flatten([for bucket in values(var.buckets) : [for days in [bucket.noncurrent_versions, bucket.noncurrent_days, bucket.delete_after_days, bucket.nearline_after_days] : days == null ? true : days >= 1]]))
    error_message = "Versions and days are 1 or more."
  }
  validation {
    condition     = alltrue([for bucket in values(var.buckets) : length(setsubtract(bucket.delete_in, bucket.folders)) == 0])
    error_message = "delete_in names folders of the bucket."
  }
  validation {
    condition     = alltrue([for bucket in values(var.buckets) : bucket.soft_delete_days == 0 || (bucket.soft_delete_days >= 7 && bucket.soft_delete_days <= 90)])
    error_message = "soft_delete_days is 0, or 7 to 90."
  }
  validation {
    condition     = alltrue(flatten([for bucket in values(var.buckets) : [for folder in bucket.folders : can(regex("^[a-z][a-z0-9-]*$", folder))]]))
    error_message = "A folder has lowercase letters, digits and hyphens, and no slash."
  }
}

variable "iam" {
  type        = map(map(object({ role = string, member = string })))
  description = "Who may do what: bucket, or bucket/folder, to grants by names of their own."
  default     = {}
  validation {
    condition     = alltrue(flatten([for grants in values(var.iam) : [for grant in values(grants) : !contains(["allUsers", "allAuthenticatedUsers"], grant.member)]]))
    error_message = "Nothing is public: a member is a user, group, service account or principal set."
  }
  validation {
    condition     = alltrue(flatten([for grants in values(var.iam) : [for grant in values(grants) : !contains(["roles/owner", "roles/editor", "roles/viewer"], grant.role)]]))
    error_message = "Primitive roles are refused."
  }
  validation {
    condition     = alltrue([for target in keys(var.iam) : can(regex("^[a-z0-9-]+(/[a-z0-9-]+)?$", target))])
    error_message = "A target is BUCKET or BUCKET/FOLDER."
  }
}

variable "deletion_protection" {
  type        = bool
  description = "Whether a bucket that holds objects refuses to be destroyed."
  default     = true
}
