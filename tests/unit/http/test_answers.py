import gzip
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel
from werkzeug.test import Client

from analyst.context import Context, Process
from analyst.http import Allow, Answer, Encoded, FileAnswer, HttpFunction, Redirect, app, function

Serving = Callable[..., Client]
CONTENT = bytes(range(256)) * 40


class Said(BaseModel):
    text: str


@function("GET", "/none", allow=Allow.ANYBODY)
def nothing(ctx: Context) -> None: ...


@function("POST", "/made", allow=Allow.ANYBODY, status=201)
def made(_ctx: Context) -> Said:
    return Said(text="made")


@function("POST", "/later", allow=Allow.ANYBODY, answers={202: "It runs."})
def later(_ctx: Context) -> Answer[Said]:
    return Answer(Said(text="later"), status=202, headers={"Location": "/status"})


@function("GET", "/moved", allow=Allow.ANYBODY)
def moved(_ctx: Context) -> Redirect:
    return Redirect("https://example.com/a?b=c")


@function("GET", "/encoded", allow=Allow.ANYBODY)
def encoded(_ctx: Context) -> Encoded[Said]:
    body = Said(text="x" * 1000).model_dump_json().encode()
    return Encoded(body, "v1", gzipped=gzip.compress(body))


def handing_out(path: Path, filename: str = "data.parquet") -> HttpFunction:
    @function("GET", "/file", allow=Allow.ANYBODY)
    def file(_ctx: Context) -> FileAnswer:
        return FileAnswer(path, filename)

    return file


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "data.parquet"
    path.write_bytes(CONTENT)
    return path


@pytest.fixture
def file(serving: Serving, path: Path) -> Client:
    return serving(handing_out(path))


def test_returning_nothing_is_answered_with_204(serving: Serving) -> None:
    answer = serving(nothing).get("/none")
    assert (answer.status_code, answer.data) == (204, b"")
    assert "Content-Type" not in answer.headers


def test_a_model_has_the_status_of_its_function_unless_the_answer_overrides_it(serving: Serving) -> None:
    client = serving(made, later)
    assert client.post("/made").status_code == 201
    answer = client.post("/later")
    assert (answer.status_code, answer.json, answer.headers["Location"]) == (202, {"text": "later"}, "/status")


def test_a_redirect_keeps_its_url(serving: Serving) -> None:
    answer = serving(moved).get("/moved")
    assert (answer.status_code, answer.headers["Location"]) == (307, "https://example.com/a?b=c")


@pytest.mark.parametrize("accepted", ["gzip", "br, gzip;q=0.5", "*"])
def test_a_client_that_accepts_gzip_gets_it(serving: Serving, accepted: str) -> None:
    answer = serving(encoded).get("/encoded", headers={"Accept-Encoding": accepted})
    assert answer.headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(answer.data) == serving(encoded).get("/encoded").data
    assert "Accept-Encoding" in answer.headers["Vary"]


@pytest.mark.parametrize("accepted", ["identity", "gzip;q=0", "br"])
def test_a_client_that_does_not_accept_gzip_does_not_get_it(serving: Serving, accepted: str) -> None:
    answer = serving(encoded).get("/encoded", headers={"Accept-Encoding": accepted})
    assert "Content-Encoding" not in answer.headers
    assert answer.json == {"text": "x" * 1000}


@pytest.mark.parametrize(
    ("known", "status"), [('W/"v1"', 304), ('"v1"', 304), ('"v0", "v1"', 304), ("*", 304), ('"v0"', 200), ("v", 200)]
)
def test_a_client_with_the_newest_version_gets_304(serving: Serving, known: str, status: int) -> None:
    answer = serving(encoded).get("/encoded", headers={"If-None-Match": known, "Accept-Encoding": "gzip"})
    assert (answer.status_code, bool(answer.data)) == (status, status == 200)
    assert answer.headers["ETag"] == 'W/"v1"'
    assert answer.headers["Cache-Control"] == "private, no-cache"


def test_a_file_is_served_whole(file: Client) -> None:
    answer = file.get("/file", buffered=True)
    assert (answer.status_code, answer.data) == (200, CONTENT)
    assert answer.headers["Accept-Ranges"] == "bytes"
    assert (
        answer.headers["Content-Disposition"] == "attachment; filename=\"data.parquet\"; filename*=UTF-8''data.parquet"
    )


def test_head_returns_the_size_of_a_file(file: Client) -> None:
    answer = file.head("/file", headers={"Range": "bytes=0-9"})
    assert (answer.status_code, answer.data, answer.content_length) == (200, b"", len(CONTENT))


@given(st.integers(0, len(CONTENT) - 1), st.integers(0, 2 * len(CONTENT)))
def test_a_range_request_returns_that_part_of_the_file(start: int, length: int) -> None:
    answer = _FILE.get("/file", buffered=True, headers={"Range": f"bytes={start}-{start + length}"})
    part = CONTENT[start : start + length + 1]
    assert (answer.status_code, answer.data) == (206, part)
    assert answer.headers["Content-Range"] == f"bytes {start}-{start + len(part) - 1}/{len(CONTENT)}"
    assert answer.content_length == len(part)


@pytest.mark.parametrize(
    ("wanted", "part"),
    [
        ("bytes=-5", CONTENT[-5:]),
        ("bytes=10000-", CONTENT[10000:]),
        (f"bytes=-{len(CONTENT)}", CONTENT),
        (f"bytes=-{len(CONTENT) + 1}", CONTENT),
        ("bytes=-99999999999999999999", CONTENT),
    ],
)
def test_a_range_may_be_open(file: Client, wanted: str, part: bytes) -> None:
    answer = file.get("/file", buffered=True, headers={"Range": wanted})
    assert (answer.status_code, answer.data) == (206, part)


@pytest.mark.parametrize("wanted", ["bytes=0-1,5-6", "lines=1-2", "bytes=x", "bytes=5-2", "", "0-5"])
def test_anything_but_one_range_is_ignored(file: Client, wanted: str) -> None:
    answer = file.get("/file", buffered=True, headers={"Range": wanted})
    assert (answer.status_code, answer.data) == (200, CONTENT)


@pytest.mark.parametrize("wanted", [f"bytes={len(CONTENT)}-", "bytes=99999999999999999999-"])
def test_a_range_outside_the_file_is_refused_with_its_size(file: Client, wanted: str) -> None:
    answer = file.get("/file", buffered=True, headers={"Range": wanted})
    assert (answer.status_code, answer.headers["Content-Range"]) == (416, f"bytes */{len(CONTENT)}")
    assert answer.content_type == "application/problem+json"


def test_a_range_of_another_version_returns_the_whole_file(file: Client) -> None:
    etag = file.get("/file", buffered=True).headers["ETag"]
    assert file.get("/file", buffered=True, headers={"Range": "bytes=0-1", "If-Range": etag}).status_code == 206
    assert file.get("/file", buffered=True, headers={"Range": "bytes=0-1", "If-Range": '"other"'}).status_code == 200
    assert file.get("/file", buffered=True, headers={"If-None-Match": etag}).status_code == 304


def test_an_empty_file_is_served(serving: Serving, tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    client = serving(handing_out(tmp_path / "empty"))
    answer = client.get("/file", buffered=True)
    assert (answer.status_code, answer.data) == (200, b"")


def test_a_file_that_is_gone_is_not_found(serving: Serving, tmp_path: Path) -> None:
    assert serving(handing_out(tmp_path / "gone")).get("/file", buffered=True).status_code == 404


@pytest.mark.parametrize(
    ("filename", "shown"),
    [
        ("č.parquet", "attachment; filename=\"_.parquet\"; filename*=UTF-8''%C4%8D.parquet"),
        ('a"b.parquet', "attachment; filename=\"a_b.parquet\"; filename*=UTF-8''a%22b.parquet"),
        (
            "a\r\nSet-Cookie: x=y",
            "attachment; filename=\"a__Set-Cookie: x=y\"; filename*=UTF-8''a__Set-Cookie%3A%20x%3Dy",
        ),
    ],
)
def test_a_filename_cannot_break_out_of_its_header(serving: Serving, path: Path, filename: str, shown: str) -> None:
    answer = serving(handing_out(path, filename)).get("/file", buffered=True)
    assert answer.headers["Content-Disposition"] == shown
    assert "Set-Cookie" not in answer.headers


def _serve_content() -> Client:
    from tempfile import NamedTemporaryFile

    with NamedTemporaryFile(delete=False) as target:
        target.write(CONTENT)
    return Client(app(Process({}), [handing_out(Path(target.name))]))


_FILE = _serve_content()
