# The ledger in the bucket counts the attempts and sets the pauses between them; the queue repeats only calls without an
# answer.
resource "google_cloud_tasks_queue" "tasks" {
  name     = "${var.name}-tasks"
  location = var.region
  rate_limits {
    max_dispatches_per_second = 100
    max_concurrent_dispatches = 200
  }
  retry_config {
    max_attempts       = 20
    min_backoff        = "10s"
    max_backoff        = "60s"
    max_doublings      = 3
    max_retry_duration = "3600s"
  }
  depends_on = [google_project_service.apis]
}

resource "google_cloud_tasks_queue_iam_member" "enqueuers" {
  for_each = { for name, group in local.groups : name => group if group.enqueues }
  name     = google_cloud_tasks_queue.tasks.name
  location = var.region
  role     = "roles/cloudtasks.enqueuer"
  member   = "serviceAccount:${google_service_account.groups[each.key].email}"
}

# who creates a task with an identity token must be allowed to act as its account
resource "google_service_account_iam_member" "act_as_tasks" {
  for_each           = { for name, group in local.groups : name => group if group.enqueues }
  service_account_id = google_service_account.tasks.name
  role               = "roles/iam.serviceAccountUser"
  member             = "serviceAccount:${google_service_account.groups[each.key].email}"
}

resource "google_cloud_scheduler_job" "schedule" {
  name             = "${var.name}-schedule"
  region           = var.region
  schedule         = "* * * * *"
  time_zone        = "Etc/UTC"
  attempt_deadline = "180s"
  retry_config {
    retry_count = 1
  }
  http_target {
    http_method = "POST"
    uri         = "${local.base_url}/schedule"
    oidc_token {
      service_account_email = google_service_account.scheduler.email
      audience              = local.base_url
    }
  }
  depends_on = [google_project_service.apis]
}
