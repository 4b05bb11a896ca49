# The services, routes and rights follow from services.json, which infra/deployment.py generates from
# infra/services.yaml and the functions.
locals {
  generated = jsondecode(file("${path.module}/services.json"))
  groups = {
    for name, group in local.generated.groups : name => merge(group, { for key, value in group.large : key => value if var.size == "large" })
    if var.gateway || !group.optional
  }
  base_url      = "https://${var.domain}"
  image         = "${var.region}-docker.pkg.dev/${var.project}/${google_artifact_registry_repository.images.repository_id}/ai-data-analyst${startswith(var.image_tag, "@") ? "" : ":"}${var.image_tag}"
  always_secret = toset(["secret_key", "service_token"])
  known_secrets = setunion(local.always_secret, var.secrets)
  # all that are secret in any service, also in those that are not deployed
  secret_settings = toset(flatten([for name, group in local.generated.groups : group.secrets]))
  callers         = [google_service_account.tasks.email, google_service_account.scheduler.email]
  group_secrets = {
    for pair in flatten([
      for name, group in local.groups : [
        for secret in group.secrets : { group = name, secret = secret } if contains(local.known_secrets, secret)
      ]
    ]) : "${pair.group}/${pair.secret}" => pair
  }
  # one binding for each group, kind of right and prefix of the bucket
  roles = {
    read   = "roles/storage.objectViewer"
    create = "roles/storage.objectCreator"
    write  = "roles/storage.objectUser"
  }
  bucket_rights = {
    for right in flatten([
      for name, group in local.groups : [
        for kind, role in local.roles : [
          for prefix in group.bucket[kind] : { group = name, role = role, prefix = prefix, kind = kind }
        ]
      ]
    ]) : "${right.group}/${right.kind}/${right.prefix}" => right
  }
}

# what a group needs to read tables and views of BigQuery: to run jobs, to read data, and to read it in parallel streams
locals {
  bigquery_roles = ["roles/bigquery.dataViewer", "roles/bigquery.jobUser", "roles/bigquery.readSessionUser"]
  bigquery_rights = {
    for right in setproduct(var.bigquery_projects, local.bigquery_roles, [for name, group in local.groups : name if group.bigquery]) :
    join("/", right) => { project = right[0], role = right[1], group = right[2] }
  }
}

resource "google_project_iam_member" "bigquery" {
  for_each = local.bigquery_rights
  project  = each.value.project
  role     = each.value.role
  member   = "serviceAccount:${google_service_account.groups[each.value.group].email}"
}

resource "google_project_service" "apis" {
  for_each = toset(concat([
    "artifactregistry.googleapis.com", "cloudresourcemanager.googleapis.com", "cloudscheduler.googleapis.com",
    "cloudtasks.googleapis.com", "compute.googleapis.com", "iam.googleapis.com", "iamcredentials.googleapis.com", "logging.googleapis.com",
    "monitoring.googleapis.com", "run.googleapis.com", "secretmanager.googleapis.com", "storage.googleapis.com",
  ], var.billing_account == null ? [] : ["billingbudgets.googleapis.com"]))
  service            = each.value
  disable_on_destroy = false
}

resource "google_artifact_registry_repository" "images" {
  # checkov:skip=CKV_GCP_84: the image has no secrets; Google's own keys encrypt it
  repository_id = var.name
  location      = var.region
  format        = "DOCKER"
  cleanup_policies {
    id     = "keep-the-last-ten"
    action = "KEEP"
    most_recent_versions {
      keep_count = 10
    }
  }
  cleanup_policies {
    id     = "delete-older-ones"
    action = "DELETE"
    condition {
      older_than = "2592000s"
    }
  }
  depends_on = [google_project_service.apis]
}

resource "google_service_account" "groups" {
  for_each     = local.groups
  account_id   = "${var.name}-${each.key}"
  display_name = each.value.about
  depends_on   = [google_project_service.apis]
}

resource "google_service_account" "tasks" {
  account_id   = "${var.name}-calls"
  display_name = "Cloud Tasks calls functions as this account"
  depends_on   = [google_project_service.apis]
}

resource "google_service_account" "scheduler" {
  account_id   = "${var.name}-scheduler"
  display_name = "Cloud Scheduler calls the scheduler as this account"
  depends_on   = [google_project_service.apis]
}

resource "google_cloud_run_v2_service" "groups" {
  for_each            = local.groups
  name                = "${var.name}-${each.key}"
  location            = var.region
  ingress             = "INGRESS_TRAFFIC_INTERNAL_LOAD_BALANCER"
  deletion_protection = false

  template {
    service_account                  = google_service_account.groups[each.key].email
    timeout                          = "${each.value.timeout}s"
    max_instance_request_concurrency = each.value.concurrency
    execution_environment            = "EXECUTION_ENVIRONMENT_GEN2"

    scaling {
      min_instance_count = each.value.instances[0]
      max_instance_count = each.value.instances[1]
    }

    containers {
      image   = local.image
      command = length(each.value.command) > 0 ? each.value.command : null
      ports {
        container_port = 8080
      }
      resources {
        limits            = { cpu = tostring(each.value.cpu), memory = each.value.memory }
        cpu_idle          = true
        startup_cpu_boost = true
      }
      startup_probe {
        http_get {
          path = "/healthz"
        }
        period_seconds    = 2
        failure_threshold = 30
      }

      dynamic "env" {
        for_each = merge({
          DATA_URL               = "gs://${google_storage_bucket.data.name}"
          BASE_URL               = local.base_url
          TASKS                  = "cloud"
          TASKS_URL              = local.base_url
          TASKS_QUEUE            = google_cloud_tasks_queue.tasks.id
          TASKS_ACCOUNT          = google_service_account.tasks.email
          SERVICE_ACCOUNT_EMAILS = join(",", local.callers)
          TRUSTED_PROXIES        = "2"
          GOOGLE_CLOUD_PROJECT   = var.project
          FUNCTIONS              = each.value.functions
          WORKERS                = "1"
        }, each.value.variables, var.settings)
        content {
          name  = env.key
          value = env.value
        }
      }

      dynamic "env" {
        for_each = { for key, pair in local.group_secrets : pair.secret => pair if pair.group == each.key }
        content {
          name = upper(env.key)
          value_source {
            secret_key_ref {
              secret  = google_secret_manager_secret.settings[env.key].secret_id
              version = "latest"
            }
          }
        }
      }
    }
  }

  depends_on = [google_project_service.apis, google_secret_manager_secret_iam_member.groups]
}

# Everybody reaches the services through the load balancer; the functions themselves identify every caller.
resource "google_cloud_run_v2_service_iam_member" "everybody" {
  for_each = local.groups
  name     = google_cloud_run_v2_service.groups[each.key].name
  location = var.region
  role     = "roles/run.invoker"
  member   = "allUsers"
}
