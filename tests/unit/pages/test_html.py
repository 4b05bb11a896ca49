from datetime import UTC, datetime, timedelta
from pathlib import Path

import jinja2
import pytest

from analyst.pages import Site, render
from analyst.pages.html import ago, moment, number, sentence, size
from analyst.settings import read_settings

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("past", "text"),
    [
        (timedelta(seconds=-5), "just now"),
        (timedelta(seconds=59), "just now"),
        (timedelta(minutes=1), "1 minute ago"),
        (timedelta(minutes=59), "59 minutes ago"),
        (timedelta(hours=1), "1 hour ago"),
        (timedelta(hours=23, minutes=59), "23 hours ago"),
        (timedelta(days=1), "1 day ago"),
        (timedelta(days=60), "60 days ago"),
        (timedelta(days=61), "2025-12-30"),
    ],
)
def test_times_are_written_for_people(past: timedelta, text: str) -> None:
    assert ago(NOW - past, NOW) == text
    assert ago((NOW - past).replace(tzinfo=None), NOW) == text


def test_missing_values_are_empty() -> None:
    assert (ago(None, NOW), moment(None), number(None), size(None)) == ("never", "", "", "")


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (123_456, "123 kB"), (1_500_000, "1.5 MB"), (10**18, "1000 PB")],
)
def test_sizes_are_written_for_people(count: int, text: str) -> None:
    assert size(count) == text


def test_a_message_becomes_a_sentence() -> None:
    assert (sentence("the file is gone"), sentence("Gone."), sentence("")) == ("The file is gone.", "Gone.", ".")


def test_a_template_variable_without_a_value_is_an_error() -> None:
    with pytest.raises(jinja2.UndefinedError):
        render("message.html", Site(), title="x")


def site(logo: Path | str) -> Site:
    return Site.of(
        read_settings({"DATA_URL": "file:///nowhere", "INSTANCE_NAME": "Ex & Co", "INSTANCE_LOGO": str(logo)})
    )


def test_the_logo_is_in_the_page(tmp_path: Path) -> None:
    file = tmp_path / "logo.png"
    file.write_bytes(b"png")
    page = render("message.html", site(file), title="x", text="", request_id=None, links=[])
    assert 'src="data:image/png;base64,cG5n"' in page
    assert "Ex &amp; Co" in page


@pytest.mark.parametrize("content", [None, b"x" * 65_537])
def test_a_logo_that_cannot_be_read_breaks_no_page(
    tmp_path: Path, content: bytes | None, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "logo.svg"
    if content is not None:
        file.write_bytes(content)
    assert site(file).logo is None
    assert str(file) in caplog.text
