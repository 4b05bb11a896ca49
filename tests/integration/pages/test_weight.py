"""What a browser loads at its first visit: a page and the script, and nothing else; and how long it keeps them."""

import re

import pytest

from analyst.pages import script
from tests.all_functions import FUNCTIONS
from tests.integration.pages.conftest import Browser

FIRST_LOAD = 120_000
PARTS = {"source": "shop", "name": "orders", "id": "none", "filename": "none.whl"}
PAGES = sorted(
    path.format(
        **{"name": "shop" if "sources" in path else "orders", **{k: v for k, v in PARTS.items() if k != "name"}}
    )
    for each in FUNCTIONS
    if (spec := each.function).method == "GET" and spec.is_page
    for path in (spec.path.text,)
    if path != "/auth/google"  # it leads elsewhere
)
"""A page of every route; what some of them name does not exist, which is a page too."""


@pytest.mark.parametrize("path", PAGES)
def test_a_first_visit_is_small_and_only_the_script_is_cached(admin: Browser, path: str) -> None:
    answer = admin.get(path, **{"Accept-Encoding": "gzip"})
    assert len(answer.data) + len(script().gzipped) < FIRST_LOAD
    if answer.status_code == 200:
        assert answer.headers["Content-Encoding"] == "gzip"
    assert "no-store" in answer.headers["Cache-Control"]
    page = admin.get(path)
    assert len(page.text.encode()) + len(script().text) < FIRST_LOAD  # even if a proxy unpacks it
    assert set(re.findall(r'(?:src|href)="([^"]+\.(?:js|css|woff2?|png|ico|svg))"', page.text)) <= {script().path}


def test_the_script_is_cached_under_its_hash(browser: Browser) -> None:
    answer = browser.get(script().path)
    assert answer.headers["Cache-Control"] == "public, max-age=31536000, immutable"
    old = browser.get("/static/pages-0000000000000000.js")
    assert (old.status_code, old.headers["Cache-Control"]) == (404, "no-store")


@pytest.mark.parametrize("path", ["/index.json", "/catalog.json", "/tables/shop/orders.json", "/admin/people.json"])
def test_json_twins_are_not_cached(admin: Browser, path: str) -> None:
    assert "no-store" in admin.get(path).headers["Cache-Control"]
