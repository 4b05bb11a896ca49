"""Nothing of a sensitive value is shown: not of a column that is sensitive, and not of a value that looks so elsewhere."""

import json
from pathlib import Path

import pytest

from da.profiles.files import profile_path
from da.profiles.html import page
from da.profiles.report import without_values
from da.profiles.sensitive import by_name, by_tag, content_of
from da.profiles.sketches import Kind
from tests.bucket_contents import connected

NAMES: list[tuple[str, Kind, bool]] = [
    ("email", "text", True),
    ("Customer E-Mail", "text", True),
    ("customerEmailAddress", "text", True),
    ("contact_mail", "text", True),
    ("phone_number", "number", True),
    ("Telefon", "text", True),
    ("card_number", "number", True),
    ("api_key", "text", True),
    ("PasswordHash", "text", True),
    ("date_of_birth", "date", True),
    ("ssn", "number", True),
    ("email_count", "number", False),
    ("email_opens", "number", False),
    ("is_email", "boolean", False),
    ("tokens", "number", False),
    ("email_sent_at", "timestamp", False),
    ("mailing_list", "text", False),
    ("author", "text", False),
    ("pandas", "text", False),
    ("hotel", "text", False),
    ("phone_model", "text", False),
    ("cardinality", "number", False),
    ("name", "text", False),
]


@pytest.mark.parametrize(("name", "kind", "wanted"), NAMES)
def test_a_name_decides_whether_a_column_is_sensitive(name: str, kind: Kind, wanted: bool) -> None:
    assert by_name(name, kind) is wanted


@pytest.mark.parametrize(
    ("tags", "wanted"),
    [
        (["PII"], True),
        (["PII.Sensitive"], True),
        (["finance", "pii"], True),
        (["pii.nonsensitive"], False),
        (["Tier.Tier1"], False),
        ([], False),
    ],
)
def test_a_tag_decides_whether_a_column_is_sensitive(tags: list[str], wanted: bool) -> None:
    assert by_tag(tags) is wanted


CONTENTS: list[tuple[str, str | None]] = [
    ("bob@example.com", "email"),
    ("write to Bob <bob.smith+x@mail.example.co.uk>, please", "email"),
    ("bob (at) example.com", "email"),
    ("mailto:bob%40example.com", "email"),
    ("user@host", "email"),
    ("Jožo@príklad.sk", "email"),
    ("@mention", None),
    ("+420 777 123 456", "phone"),
    ("(555) 123-4567", "phone"),
    ("555-123-4567", "phone"),
    ("call 0049 30 1234567 now", "phone"),
    ("4111 1111 1111 1111", "card"),
    ("5500000000000004", "card"),
    ("4111111111111112", None),
    ("DE89 3704 0044 0532 0130 00", "card"),
    ("ghp_abcdefghijklmnopqrstuvwxyz0123456789", "token"),
    ("AKIAIOSFODNN7EXAMPLE", "token"),
    ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abc", "token"),
    ("$2b$12$abcdefghijklmnopqrstuv", "token"),
    ("https://user:secret@host/path", "email"),
    ("password=hunter22", "token"),
    ("9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08", "token"),
    ("2024-01-01", None),
    ("01-02-2024 10:00", None),
    ("2024-01-01 12:00:00", None),
    ("123e4567-e89b-12d3-a456-426614174000", None),
    ("hello world", None),
    ("N12345", None),
    ("192.168.100.200", None),
    ("50.0874654, 14.4212535", None),
    ("https://example.com/a-long-article-about-nothing-in-particular", None),
    ("", None),
]


@pytest.mark.parametrize(("value", "wanted"), CONTENTS)
def test_the_kind_of_sensitive_content_is_recognized_in_a_value(value: str, wanted: str | None) -> None:
    assert content_of(value) == wanted


SECRETS = {
    "email": "zz.planted@example.com",
    "phone": "+420 777 123 456",
    "card": "4111 1111 1111 1111",
    "token": "ghp_plantedplantedplantedplanted1234",
}

PLACES = {
    "a text of its own": "select case when i = 77 then ? else 'word' || i % 9 end as v from range(200) r(i)",
    "the greatest": "select case when i = 77 then ? else 'a' || i end as v from range(20000) r(i)",
    "a category": "select case when i % 2 = 0 then ? else 'b' end as v from range(200) r(i)",
    "a list": "select case when i = 77 then [?, 'x'] else ['y'] end as v from range(200) r(i)",
    "a struct": "select {'inner': case when i = 77 then ? else 'y' end} as v from range(200) r(i)",
    "a map": "select map {'key': case when i = 77 then ? else 'y' end} as v from range(200) r(i)",
    "json": "select json_object('a', case when i = 77 then ? else 'y' end) as v from range(200) r(i)",
    "the middle of a text": "select case when i = 77 then 'before ' || ? || ' after' else 'w' || i % 5 end as v from range(200) r(i)",
    "the first row": "select case when i = 0 then ? else 'c' || i end as v from range(9) r(i)",
    "bytes": "select case when i = 77 then encode(?) else encode('y') end as v from range(200) r(i)",
    "an enum": "select (case when i = 77 then ? else 'y' end)::varchar as v, i % 3 as w from range(200) r(i)",
}


@pytest.mark.parametrize("secret", SECRETS)
@pytest.mark.parametrize("place", PLACES)
def test_a_planted_value_appears_nowhere(tmp_path: Path, place: str, secret: str) -> None:
    path = tmp_path / "planted.parquet"
    with connected() as con:
        con.execute(f"create temp table t as {PLACES[place]}", [SECRETS[secret]])
        con.execute(f"copy t to '{path}' (format parquet)")
    profile = profile_path(path)
    for text in (json.dumps(profile), json.dumps(profile, ensure_ascii=False), page([profile])):
        for part in (SECRETS[secret], SECRETS[secret].replace(" ", ""), "planted@", "plantedplanted"):
            assert part not in text


def test_a_sensitive_column_shows_counts_and_no_values(tmp_path: Path) -> None:
    path = tmp_path / "people.parquet"
    with connected() as con:
        con.execute(
            "create temp table t as select 'P' || i % 3 as phone, 4000 + i as card_number, i as id from range(50) r(i)"
        )
        con.execute(f"copy t to '{path}' (format parquet)")
    profile = profile_path(path)
    shown = {each["name"]: each for each in profile["columnProfile"]}
    for name in ("phone", "card_number"):
        assert (shown[name]["isSensitive"], shown[name]["sensitive"], shown[name]["valuesCount"]) == (True, "name", 50)
        assert (
            not {"min", "max", "mean", "topValues", "sampleValues", "histogram", "patterns", "quantiles"}
            & shown[name].keys()
        )
        assert {row[name] for row in profile["sampleRows"]} == {"…"}
    assert not any("card_number" in each["columns"] for each in profile["correlations"])


def test_a_tag_hides_the_values_of_a_profile_that_was_made_before(tmp_path: Path) -> None:
    path = tmp_path / "pay.parquet"
    with connected() as con:
        con.execute(
            "create temp table t as select 1000 + i as salary, date '2024-01-01' + i::int as paid, i as id from range(50) r(i)"
        )
        con.execute(f"copy t to '{path}' (format parquet)")
    profile = profile_path(path)
    assert "1000" in json.dumps(profile)
    hidden = without_values(profile, ["salary", "paid"])
    text = json.dumps(hidden)
    for value in ("1000", "1049", "2024-01-01", "2024-02-19"):
        assert value not in text
    assert hidden["columnProfile"][0]["sensitive"] == "tag"
    assert without_values(profile, []) == profile
