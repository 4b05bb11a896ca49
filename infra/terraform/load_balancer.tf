resource "google_compute_global_address" "address" {
  name       = var.name
  depends_on = [google_project_service.apis]
}

# A certificate can't be changed, or deleted while the proxy uses it, so another domain gets a new certificate before
# the old one is deleted. A certificate whose name follows an earlier scheme is kept until the domain changes: replacing
# it would interrupt the service for up to an hour, until Google has issued the new one.
resource "google_compute_managed_ssl_certificate" "certificate" {
  name = "${var.name}-${substr(sha256(var.domain), 0, 8)}"
  managed {
    domains = [var.domain]
  }
  lifecycle {
    create_before_destroy = true
    ignore_changes        = [name]
  }
  depends_on = [google_project_service.apis]
}

resource "google_compute_region_network_endpoint_group" "groups" {
  for_each              = local.groups
  name                  = "${var.name}-${each.key}"
  region                = var.region
  network_endpoint_type = "SERVERLESS"
  cloud_run {
    service = google_cloud_run_v2_service.groups[each.key].name
  }
}

resource "google_compute_backend_service" "groups" {
  for_each              = local.groups
  name                  = "${var.name}-${each.key}"
  load_balancing_scheme = "EXTERNAL_MANAGED"
  protocol              = "HTTPS"
  backend {
    group = google_compute_region_network_endpoint_group.groups[each.key].id
  }
  log_config {
    enable      = true
    sample_rate = 0.1
  }
}

# services.json has the rules in their order: fewer wildcards first. The first matching rule wins.
resource "google_compute_url_map" "routes" {
  name            = var.name
  default_service = google_compute_backend_service.groups["api"].id
  host_rule {
    hosts        = [var.domain]
    path_matcher = "functions"
  }
  path_matcher {
    name            = "functions"
    default_service = google_compute_backend_service.groups["api"].id
    dynamic "route_rules" {
      for_each = {
        for index, route in local.generated.routes : format("%04d", index) => route
        if contains(keys(local.groups), route.service)
      }
      content {
        priority = tonumber(route_rules.key) + 1
        service  = google_compute_backend_service.groups[route_rules.value.service].id
        match_rules {
          path_template_match = route_rules.value.path
        }
      }
    }
  }
}

resource "google_compute_ssl_policy" "modern" {
  name            = var.name
  profile         = "MODERN"
  min_tls_version = "TLS_1_2"
  depends_on      = [google_project_service.apis]
}

resource "google_compute_target_https_proxy" "proxy" {
  name             = var.name
  url_map          = google_compute_url_map.routes.id
  ssl_certificates = [google_compute_managed_ssl_certificate.certificate.id]
  ssl_policy       = google_compute_ssl_policy.modern.id
}

resource "google_compute_global_forwarding_rule" "https" {
  name                  = var.name
  load_balancing_scheme = "EXTERNAL_MANAGED"
  target                = google_compute_target_https_proxy.proxy.id
  ip_address            = google_compute_global_address.address.id
  port_range            = "443"
}

output "address" {
  description = "The IP address to which the DNS record of the domain must point."
  value       = google_compute_global_address.address.address
}

output "image" {
  description = "Image that the services run: push it to this address."
  value       = local.image
}
