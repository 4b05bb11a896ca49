variable "project" {
  description = "Id of the Google Cloud project."
  type        = string
}

variable "region" {
  description = "Region of all resources, such as europe-west1."
  type        = string
  default     = "europe-west1"
}

variable "name" {
  description = "Prefix of the names of all resources, so that one project can have several installations."
  type        = string
  default     = "analyst"
  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,17}$", var.name))
    error_message = "The name must consist of 2 to 18 lowercase letters, digits and dashes, and start with a letter."
  }
}

variable "domain" {
  description = "Domain of the installation, such as data.example.com; its DNS record must point to the output `address`."
  type        = string
  validation {
    condition     = can(regex("^([a-z0-9]([a-z0-9-]*[a-z0-9])?[.])+[a-z][a-z0-9-]*$", var.domain))
    error_message = "It is a domain in lower case, without https:// and without a path, such as data.example.com."
  }
}

variable "image_tag" {
  description = "Tag or digest of the image in the registry that this configuration creates: `v1`, or `@sha256:…`."
  type        = string
  default     = "latest"
}

variable "size" {
  description = "small costs almost nothing when idle; large keeps instances warm."
  type        = string
  default     = "small"
  validation {
    condition     = contains(["small", "large"], var.size)
    error_message = "The size must be small or large."
  }
}

variable "settings" {
  description = "Further settings of the functions, as environment variables: see config/.env.template. No secrets."
  type        = map(string)
  default     = {}
  validation {
    condition     = alltrue([for name in keys(var.settings) : can(regex("^[A-Z][A-Z0-9_]*$", name))])
    error_message = "The names are those of config/.env.template, in upper case, such as ALLOWED_DOMAINS."
  }
}

variable "secrets" {
  description = "Secret settings to use besides secret_key and service_token, such as jira_api_token. Add their values as versions of the secrets in Secret Manager, not here."
  type        = set(string)
  default     = ["bootstrap_secret"]
}

variable "bigquery_projects" {
  description = "Ids of the projects whose BigQuery tables may be read. The services that read them get the necessary roles there."
  type        = set(string)
  default     = []
}

variable "gateway" {
  description = "Whether to deploy the WebSocket gateway, which sends notifications to desktop programs."
  type        = bool
  default     = false
}

variable "alert_email" {
  description = "E-mail address that receives alerts."
  type        = string
}

variable "billing_account" {
  description = "Billing account for the budget. Without it, no budget is created."
  type        = string
  default     = null
}

variable "monthly_budget" {
  description = "Monthly budget in the currency of the billing account, with alerts at 50, 90 and 100 %."
  type        = number
  default     = 50
}
