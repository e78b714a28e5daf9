mock_provider "google" {}

variables {
  project  = "acme-ml-dev"
  location = "europe-west4"
  labels   = { environment = "dev", cost_center = "ml" }
  buckets  = { artifacts = { folders = ["growth"] }, state = {} }
}

run "the_example_works" {
  command = apply
  module {
    source = "./examples/basic"
  }
  assert {
    condition     = output.urls["artifacts/growth"] == "gs://acme-ml-dev-artifacts/growth" && output.urls["state"] == "gs://acme-ml-dev-state"
    error_message = "A URL has the project's id, the bucket and the folder."
  }
}

run "every_bucket_is_private_versioned_and_labelled" {
  command = plan
  assert {
    condition     = alltrue([for bucket in google_storage_bucket.this : bucket.uniform_bucket_level_access && bucket.public_access_prevention == "enforced" && bucket.versioning[0].enabled])
    error_message = "Uniform access, no public access, versions."
  }
  assert {
    condition     = google_storage_bucket.this["artifacts"].labels == tomap({ environment = "dev", cost_center = "ml", component = "storage", managed_by = "terraform", bucket = "artifacts" })
    error_message = "Labels attribute the cost to an environment, a cost center and a bucket."
  }
  assert {
    condition     = alltrue([for bucket in google_storage_bucket.this : !bucket.force_destroy && length(bucket.encryption) == 0])
    error_message = "A bucket with objects stays; without a key of one's own Google's is used."
  }
}

run "old_versions_and_old_objects_go" {
  command = plan
  variables {
    buckets = { artifacts = { delete_after_days = 180, nearline_after_days = 30, noncurrent_versions = 2 } }
  }
  assert {
    condition = [for rule in google_storage_bucket.this["artifacts"].lifecycle_rule : one(rule.action).type] == [
      "AbortIncompleteMultipartUpload", "Delete", "SetStorageClass", "Delete"
    ]
    error_message = "Uploads that were given up, versions, colder storage, objects."
  }
  assert {
    condition     = one(google_storage_bucket.this["artifacts"].lifecycle_rule[1].condition).num_newer_versions == 2
    error_message = "Two versions are kept."
  }
}

run "what_is_to_be_kept_is_never_emptied" {
  command = plan
  variables {
    buckets             = { artifacts = {}, state = { keep = true } }
    deletion_protection = false
  }
  assert {
    condition     = !google_storage_bucket.this["state"].force_destroy && google_storage_bucket.this["artifacts"].force_destroy
    error_message = "Terraform's own state does not go with what it tells of."
  }
}

run "only_what_is_in_a_folder_is_deleted_when_it_is_said" {
  command = plan
  variables {
    buckets = { kubeflow = { folders = ["artifacts", "pipelines"], delete_after_days = 90, delete_in = ["artifacts"] } }
  }
  assert {
    condition     = one(google_storage_bucket.this["kubeflow"].lifecycle_rule[2].condition).matches_prefix == tolist(["artifacts/"]) && one(google_storage_bucket.this["kubeflow"].lifecycle_rule[2].condition).age == 90
    error_message = "Artifacts go after 90 days, pipelines stay."
  }
}

run "a_folder_that_is_not_there_is_refused" {
  command = plan
  variables {
    buckets = { kubeflow = { folders = ["artifacts"], delete_after_days = 90, delete_in = ["artefacts"] } }
  }
  expect_failures = [var.buckets]
}

run "a_key_of_ones_own_encrypts" {
  command = plan
  variables {
    kms_key = "projects/acme-ml-dev/locations/europe-west4/keyRings/r/cryptoKeys/k"
  }
  assert {
    condition     = google_storage_bucket.this["state"].encryption[0].default_kms_key_name == var.kms_key
    error_message = "The bucket uses the key."
  }
}

run "a_team_gets_its_folder_and_not_the_bucket" {
  command = apply
  variables {
    iam = { "artifacts/growth" = { runner = { role = "roles/storage.objectUser", member = "group:growth@acme.example" } } }
  }
  assert {
    condition     = length(google_storage_bucket_iam_member.this) == 0 && google_storage_managed_folder_iam_member.this["artifacts/growth/runner"].managed_folder == "growth/"
    error_message = "The grant is on the folder."
  }
}

run "the_public_is_refused" {
  command = plan
  variables {
    iam = { artifacts = { all = { role = "roles/storage.objectViewer", member = "allUsers" } } }
  }
  expect_failures = [var.iam]
}

run "a_primitive_role_is_refused" {
  command = plan
  variables {
    iam = { artifacts = { all = { role = "roles/editor", member = "group:growth@acme.example" } } }
  }
  expect_failures = [var.iam]
}

run "labels_without_a_cost_center_are_refused" {
  command = plan
  variables {
    labels = { environment = "dev" }
  }
  expect_failures = [var.labels]
}

run "a_key_that_is_none_is_refused" {
  command = plan
  variables {
    kms_key = "my-key"
  }
  expect_failures = [var.kms_key]
}

run "days_that_cannot_be_are_refused" {
  command = plan
  variables {
    buckets = { artifacts = { delete_after_days = 0 }, state = { soft_delete_days = 3 } }
  }
  expect_failures = [var.buckets]
}

run "a_zone_is_no_location" {
  command = plan
  variables {
    location = "europe-west4-a"
  }
  expect_failures = [var.location]
}
