"""A double of the provider `hashicorp/google`: its schemas, without Google Cloud."""
