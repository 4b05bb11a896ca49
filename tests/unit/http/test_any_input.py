"""Whatever is sent is answered or refused, and text comes through unchanged."""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from werkzeug.test import Client

from analyst.context import Process
from analyst.http import app
from tests.doubles.memory_store import MemoryStore
from tests.unit.http.served import change, search

_CLIENT = Client(app(Process({"DATA_URL": "file:///nowhere"}, store=MemoryStore()), [search, change]))
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(st.dictionaries(st.sampled_from(["name", "sizes", "note", "x"]), _JSON))
def test_any_json_is_answered_or_refused(body: Any) -> None:
    answer = _CLIENT.put("/things/1", data=json.dumps(body), content_type="application/json")
    assert answer.status_code in {200, 400, 413, 422}


@given(st.binary(max_size=200))
def test_any_bytes_are_answered_or_refused(data: bytes) -> None:
    assert _CLIENT.put("/things/1", data=data, content_type="application/json").status_code in {400, 422}
    assert _CLIENT.get("/search", query_string=data.decode("latin-1")).status_code in {200, 400, 422}


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00")))
def test_text_is_passed_through_unchanged(text: str) -> None:
    answer = _CLIENT.put("/things/1", json={"name": "x", "note": text})
    if len(json.dumps({"name": "x", "note": text})) < 900:
        assert answer.json == {"got": {"id": 1, "name": "x", "note": text}}
