"""What a browser loads at its first visit: a page and the script, and nothing else."""

import re

import pytest

from analyst.pages import script
from tests.integration.pages.conftest import Browser

FIRST_LOAD = 120_000


@pytest.mark.parametrize(
    "path",
    ["/", "/catalog", "/tables/shop/orders", "/query", "/metrics", "/glossary", "/account", "/admin", "/admin/sources"],
)
def test_a_first_visit_is_small(admin: Browser, path: str) -> None:
    answer = admin.get(path, **{"Accept-Encoding": "gzip"})
    assert (answer.status_code, answer.headers["Content-Encoding"]) == (200, "gzip")
    assert len(answer.data) + len(script().gzipped) < FIRST_LOAD
    page = admin.get(path).text
    assert len(page.encode()) + len(script().text) < FIRST_LOAD  # even if a proxy unpacks it
    assert set(re.findall(r'(?:src|href)="([^"]+\.(?:js|css|woff2?|png|ico|svg))"', page)) == {script().path}
