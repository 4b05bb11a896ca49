# Two buckets would split what compare-and-swap needs to see; so soft delete and versioning are off for all of it,
# because state/, analytics/ and locks/ are overwritten often, and every overwritten version would be billed for days.
# `da admin backup` keeps copies of the state; data files are never overwritten.
resource "google_storage_bucket" "data" {
  # checkov:skip=CKV_GCP_62: the audit log of the functions records who got which URL; logs of the bucket would know no users
  # checkov:skip=CKV_GCP_78: versions of objects that are overwritten often would be billed; `da admin backup` keeps copies
  name                        = "${var.project}-${var.name}"
  location                    = var.region
  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"

  soft_delete_policy {
    retention_duration_seconds = 0
  }
  versioning {
    enabled = false
  }

  # browsers read signed URLs from our own pages
  cors {
    origin          = [local.base_url]
    method          = ["GET", "HEAD"]
    response_header = ["Content-Type", "Content-Length", "Content-Range", "ETag"]
    max_age_seconds = 3600
  }

  lifecycle_rule {
    condition {
      age            = 7
      matches_prefix = ["uploads/"]
    }
    action {
      type = "Delete"
    }
  }
  lifecycle_rule {
    condition {
      age = 1
    }
    action {
      type = "AbortIncompleteMultipartUpload"
    }
  }

  lifecycle {
    prevent_destroy = true
  }
  depends_on = [google_project_service.apis]
}

# Conditions compare the names of objects, also those of listings.
resource "google_storage_bucket_iam_member" "groups" {
  for_each = local.bucket_rights
  bucket   = google_storage_bucket.data.name
  role     = each.value.role
  member   = "serviceAccount:${google_service_account.groups[each.value.group].email}"

  dynamic "condition" {
    for_each = each.value.prefix == "" ? [] : [each.value.prefix]
    content {
      title      = "below ${condition.value}"
      expression = "resource.name.startsWith(\"projects/_/buckets/${google_storage_bucket.data.name}/objects/${condition.value}\")"
    }
  }
}

# signed URLs are signed as the service's own account
resource "google_service_account_iam_member" "signs_for_itself" {
  for_each           = local.groups
  service_account_id = google_service_account.groups[each.key].name
  role               = "roles/iam.serviceAccountTokenCreator"
  member             = "serviceAccount:${google_service_account.groups[each.key].email}"
}

resource "google_secret_manager_secret" "settings" {
  for_each  = local.known_secrets
  secret_id = "${var.name}-${replace(each.value, "_", "-")}"
  replication {
    auto {}
  }
  lifecycle {
    precondition {
      condition     = contains(local.secret_settings, each.value)
      error_message = "No service reads the secret ${each.value}: the variable secrets has names of settings in lower case, of these: ${join(", ", local.secret_settings)}."
    }
    precondition {
      condition     = length(setintersection([for name in keys(var.settings) : lower(name)], local.secret_settings)) == 0
      error_message = "The variable settings has secrets, which the state of Terraform would show: name them in secrets, and add their values to Secret Manager."
    }
  }
  depends_on = [google_project_service.apis]
}

resource "google_secret_manager_secret_iam_member" "groups" {
  for_each  = local.group_secrets
  secret_id = google_secret_manager_secret.settings[each.value.secret].id
  role      = "roles/secretmanager.secretAccessor"
  member    = "serviceAccount:${google_service_account.groups[each.value.group].email}"
}
