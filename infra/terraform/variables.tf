variable "project" {
  description = "Id of the project of Google Cloud."
  type        = string
}

variable "region" {
  description = "Region of everything, such as europe-west1."
  type        = string
  default     = "europe-west1"
}

variable "name" {
  description = "Beginning of the names of all resources, for several installations in one project."
  type        = string
  default     = "analyst"
  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,17}$", var.name))
    error_message = "It consists of 2 to 18 lower-case letters, digits and dashes, and starts with a letter."
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
    error_message = "It is small or large."
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
  description = "Secret settings that are in use besides secret_key and service_token, such as jira_api_token. Their values are added as versions of the secrets in Secret Manager, not here."
  type        = set(string)
  default     = ["bootstrap_secret"]
}

variable "bigquery_projects" {
  description = "Ids of projects whose tables sources and queries of BigQuery may read; the services that do get the roles for it there."
  type        = set(string)
  default     = []
}

variable "gateway" {
  description = "Whether the WebSocket gateway is deployed, which passes on notifications to programs on desktops."
  type        = bool
  default     = false
}

variable "alert_email" {
  description = "Address that gets alerts."
  type        = string
}

variable "billing_account" {
  description = "Billing account for the budget; without one, there is no budget."
  type        = string
  default     = null
}

variable "monthly_budget" {
  description = "Budget for a month, in the currency of the billing account; alerts at 50, 90 and 100 %."
  type        = number
  default     = 50
}
