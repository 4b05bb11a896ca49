"""What the secrets that DuckDB reads a bucket with have in common."""

from urllib.parse import urlsplit


def endpoint_options(address: str) -> dict[str, str]:
    """Give the options of a `CREATE SECRET` that lead to a server at an address of its own."""
    place = urlsplit(address)
    return {"endpoint": place.netloc, "url_style": "path", "use_ssl": str(place.scheme == "https").lower()}
