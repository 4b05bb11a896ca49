resource "google_monitoring_notification_channel" "email" {
  display_name = "AI Data Analyst"
  type         = "email"
  labels       = { email_address = var.alert_email }
  depends_on   = [google_project_service.apis]
}

resource "google_monitoring_uptime_check_config" "health" {
  display_name = "${var.name} health"
  timeout      = "10s"
  period       = "300s"
  http_check {
    path         = "/api/health"
    port         = 443
    use_ssl      = true
    validate_ssl = true
  }
  monitored_resource {
    type   = "uptime_url"
    labels = { project_id = var.project, host = var.domain }
  }
  depends_on = [google_project_service.apis]
}

locals {
  services = join("|", [for name in keys(local.groups) : "${var.name}-${name}"])
  # what the functions log: see the messages in the code
  logged = {
    failed_task = {
      filter = "jsonPayload.message=\"a task failed for good\""
      about  = "A task failed for good; da admin tasks list shows it."
    }
    failed_extract = {
      filter = "jsonPayload.function=~\"^extract_\" AND jsonPayload.status=(207 OR 422)"
      about  = "An extract failed, or some of its tables did; da admin runs shows why."
    }
  }
}

# They watch the log itself: a policy on a metric of the log can't be created before the metric has appeared.
resource "google_monitoring_alert_policy" "logged" {
  for_each     = local.logged
  display_name = "${var.name}: ${replace(each.key, "_", " ")}"
  combiner     = "OR"
  conditions {
    display_name = each.value.about
    condition_matched_log {
      filter = "resource.type=\"cloud_run_revision\" AND resource.labels.service_name=~\"^(${local.services})$\" AND ${each.value.filter}"
    }
  }
  alert_strategy {
    notification_rate_limit {
      period = "3600s"
    }
    auto_close = "86400s"
  }
  notification_channels = [google_monitoring_notification_channel.email.id]
  depends_on            = [google_project_service.apis]
}

resource "google_monitoring_alert_policy" "down" {
  display_name = "${var.name}: does not answer"
  combiner     = "OR"
  conditions {
    display_name = "/api/health does not answer"
    condition_threshold {
      filter          = "resource.type=\"uptime_url\" AND metric.type=\"monitoring.googleapis.com/uptime_check/check_passed\" AND metric.labels.check_id=\"${google_monitoring_uptime_check_config.health.uptime_check_id}\""
      comparison      = "COMPARISON_GT"
      threshold_value = 1
      duration        = "600s"
      aggregations {
        alignment_period     = "600s"
        per_series_aligner   = "ALIGN_NEXT_OLDER"
        cross_series_reducer = "REDUCE_COUNT_FALSE"
        group_by_fields      = ["resource.label.host"]
      }
    }
  }
  notification_channels = [google_monitoring_notification_channel.email.id]
}

resource "google_monitoring_alert_policy" "errors" {
  display_name = "${var.name}: server errors"
  combiner     = "OR"
  conditions {
    display_name = "more than 10 answers of 5xx in five minutes"
    condition_threshold {
      filter          = "resource.type=\"cloud_run_revision\" AND resource.labels.service_name=monitoring.regex.full_match(\"${local.services}\") AND metric.type=\"run.googleapis.com/request_count\" AND metric.labels.response_code_class=\"5xx\""
      comparison      = "COMPARISON_GT"
      threshold_value = 10
      duration        = "0s"
      aggregations {
        alignment_period     = "300s"
        per_series_aligner   = "ALIGN_DELTA"
        cross_series_reducer = "REDUCE_SUM"
      }
    }
  }
  notification_channels = [google_monitoring_notification_channel.email.id]
}

# The scheduler is called every minute; if it is not, nothing is synced and the snapshot becomes stale.
resource "google_monitoring_alert_policy" "stale" {
  display_name = "${var.name}: stale snapshot"
  combiner     = "OR"
  conditions {
    display_name = "the scheduler has not been called for 30 minutes"
    condition_absent {
      filter   = "resource.type=\"cloud_run_revision\" AND resource.labels.service_name=\"${var.name}-tasks\" AND metric.type=\"run.googleapis.com/request_count\" AND metric.labels.response_code_class=\"2xx\""
      duration = "1800s"
      aggregations {
        alignment_period     = "300s"
        per_series_aligner   = "ALIGN_DELTA"
        cross_series_reducer = "REDUCE_SUM"
      }
    }
  }
  notification_channels = [google_monitoring_notification_channel.email.id]
}

resource "google_billing_budget" "month" {
  count           = var.billing_account == null ? 0 : 1
  billing_account = var.billing_account
  display_name    = var.name
  budget_filter {
    projects = ["projects/${var.project}"]
  }
  amount {
    specified_amount {
      units = tostring(var.monthly_budget)
    }
  }
  dynamic "threshold_rules" {
    for_each = [0.5, 0.9, 1.0]
    content {
      threshold_percent = threshold_rules.value
    }
  }
  depends_on = [google_project_service.apis]
}
