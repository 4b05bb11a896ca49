# `terraform test` plans the whole configuration without Google Cloud: what a provider would compute is made up.
mock_provider "google" {}

variables {
  project           = "my-project"
  domain            = "data.example.com"
  alert_email       = "ops@example.com"
  bigquery_projects = ["warehouse", "lake"]
  billing_account   = "000000-000000-000000"
}

run "small" {
  command = plan

  assert {
    condition     = !contains(keys(google_cloud_run_v2_service.groups), "gateway")
    error_message = "The gateway is deployed only if it is asked for."
  }
  assert {
    condition     = alltrue([for service in google_cloud_run_v2_service.groups : service.template[0].scaling[0].min_instance_count == 0])
    error_message = "A small installation keeps instances warm."
  }
  assert {
    condition     = length(google_project_iam_member.bigquery) == 12
    error_message = "Not every service that reads BigQuery has its three roles in both projects."
  }
  assert {
    condition     = length(google_compute_url_map.routes.path_matcher[0].route_rules) > 50
    error_message = "The URL map has too few rules."
  }
  assert {
    condition     = length(google_billing_budget.month) == 1
    error_message = "There is no budget."
  }
}

run "large_with_the_gateway_and_more_secrets" {
  command = plan

  variables {
    size            = "large"
    gateway         = true
    billing_account = null
    secrets         = ["jira_api_token", "smtp_password"]
    settings        = { ALLOWED_DOMAINS = "example.com" }
  }

  assert {
    condition     = contains(keys(google_cloud_run_v2_service.groups), "gateway")
    error_message = "The gateway is missing."
  }
  assert {
    condition     = google_cloud_run_v2_service.groups["read"].template[0].scaling[0].min_instance_count == 1
    error_message = "A large installation keeps the read path warm."
  }
  assert {
    condition     = contains(keys(google_secret_manager_secret_iam_member.groups), "extract/jira_api_token") && !contains(keys(google_secret_manager_secret_iam_member.groups), "read/jira_api_token")
    error_message = "A secret reaches services that do not need it, or not those that do."
  }
  assert {
    condition     = length(google_billing_budget.month) == 0
    error_message = "A budget needs a billing account."
  }
}

run "a_name_that_is_too_long_is_refused" {
  command = plan

  variables {
    name = "a-name-that-is-too-long-for-accounts"
  }
  expect_failures = [var.name]
}

run "a_domain_is_not_an_address" {
  command = plan

  variables {
    domain = "https://data.example.com"
  }
  expect_failures = [var.domain]
}

run "a_setting_has_the_name_of_its_variable" {
  command = plan

  variables {
    settings = { allowed_domains = "example.com" }
  }
  expect_failures = [var.settings]
}

run "a_secret_that_no_service_reads_is_refused" {
  command = plan

  variables {
    secrets = ["JIRA_API_TOKEN", "smtp-password"]
  }
  expect_failures = [google_secret_manager_secret.settings]
}

run "a_secret_is_not_among_the_settings" {
  command = plan

  variables {
    settings = { SMTP_PASSWORD = "in the state" }
  }
  expect_failures = [google_secret_manager_secret.settings]
}
