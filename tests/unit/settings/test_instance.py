"""The configuration file becomes settings; all of its problems are reported together."""

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from analyst.connectors.source_types import SOURCE_TYPES
from analyst.errors import SettingsError
from analyst.settings import Configuration, Settings, get_data_source_type, get_value, read_settings
from analyst.settings.configuration import Findings, check
from analyst.settings.instance import read_instance
from tests.examples import examples
from tests.unit.settings.test_environment import KEY

PLAIN = {"DATA_URL": "file:///data"}


def found(text: str, **environ: str) -> Findings:
    return check(text, {**PLAIN, **environ}, {kind: known.config for kind, known in SOURCE_TYPES.items()})


def problems(text: str, **environ: str) -> list[str]:
    return [problem.as_line("f") for problem in found(text, **environ).problems]


def warnings(text: str, **environ: str) -> list[str]:
    return [warning.as_line("f") for warning in found(text, **environ).warnings]


def read(folder: Path, text: str, **environ: str) -> Settings:
    (folder / "instance.yaml").write_text(text)
    return read_settings({**PLAIN, "CONFIG_FILE": str(folder / "instance.yaml"), **environ})


def test_the_file_supplies_what_the_environment_leaves_unset(tmp_path: Path) -> None:
    text = "auth:\n  allowed_domains: [Example.com, example.org]\ninstance: {name: From the file, subtitle: Too}\n"
    made = read(tmp_path, text, INSTANCE_NAME="From the environment", INSTANCE_SUBTITLE="")
    assert made.allowed_domains == ("example.com", "example.org")
    assert (made.instance_name, made.instance_subtitle) == ("From the environment", "Too")


def test_all_problems_are_reported_together_with_their_line_and_remedy() -> None:
    text = """\
instance:
  name: [a]
auth:
  allowed_domains:
    - example.com
    - ex ample
  google_client_id: ${NOBODY}
  access_max_age: 100
email: smtp.example.com
tables:
  public: maybe
  public: no
sources:
  Shop: {type: csv}
  shop:
    config: {delimiter: ";;;;;"}
"""
    unset = "the variable NOBODY is not set; set it, or give a default: ${NOBODY:-value}"
    boolean = "it must be a valid boolean, unable to interpret input (expected something like false)"
    name = (
        "it must be a name of lowercase letters, digits and underscores that does not start with a digit "
        "(at most 63 characters)"
    )
    assert problems(text) == [
        "f:2 instance.name: a list is not valid: it must be a valid string (expected something like AI Data Analyst)",
        'f:6 auth.allowed_domains[1]: "ex ample" is not a valid domain name (expected something like example.com)',
        f"f:7 auth.google_client_id: {unset}",
        "f:7 auth.google_client_secret: is not set, but auth.google_client_id requires it",
        'f:8 auth.access_max_age: "100" is not valid: it must be less than or equal to 60 (expected something like 5)',
        "f:9 email: is a section; put its keys below it, such as smtp_host",
        f'f:11 tables.public: "maybe" is not valid: {boolean}',
        "f:12 tables.public: is set twice, here and in line 11; remove one of them",
        f'f:14 sources.Shop: "Shop" is not valid: {name}',
        "f:14 sources.Shop.config.path: is required, but not set",
        "f:16 sources.shop.config.delimiter: must be 1 to 4 ASCII characters, without line breaks",
        "f:16 sources.shop.config.path: is required, but not set",
    ]


def test_problems_of_the_file_and_of_the_environment_are_reported_together(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        read(tmp_path, "auth: {seed_admin_email: ann}", KEEP_HOURS="0")
    assert [line.strip().removeprefix(f"{tmp_path}/") for line in str(caught.value).splitlines()] == [
        "The settings are invalid:",
        'KEEP_HOURS: "0" is not valid: it must be greater than 0 (expected something like 24)',
        'instance.yaml:1 auth.seed_admin_email: "ann" is not a valid e-mail address (expected something like ann@example.com)',
    ]


@pytest.mark.parametrize(
    ("key", "meant"),
    [
        ("auth: {allowed_domain: example.com}", "auth.allowed_domain: .* did you mean auth.allowed_domains"),
        ("allowed_domains: [example.com]", "did you mean auth.allowed_domains"),
        ("instance: {nmae: x}", "did you mean instance.name"),
        ("instnace: {name: x}", "did you mean instance?"),
        ("email: {smtp_pasword: x}", "did you mean email.smtp_password"),
        ("server: {keep_hours: 3}", "did you mean bucket.keep_hours"),
        ("sources: {shop: {typ: csv, config: {path: /x}}}", "sources.shop.typ: .* did you mean type"),
        ("palette: {primary: red}", "palette: is not a known key and is ignored$"),
    ],
)
def test_an_unknown_key_is_reported_with_the_nearest_known_one(key: str, meant: str) -> None:
    (warning,) = warnings(key)
    assert problems(key) == []
    assert re.search(meant, warning), warning


def test_variables_are_filled_in() -> None:
    text = 'instance: {name: "${NAME} & ${OTHER:-Co} $${NAME} $NAME", subtitle: "${NONE:-}"}'
    assert value(text, "instance_name", NAME="${OTHER}") == "${OTHER} & Co ${NAME} $NAME"
    assert value(text, "instance_subtitle", NAME="x") is None
    assert value("auth: {allowed_domains: '${DOMAINS}'}", "allowed_domains", DOMAINS="a.com,b.com") == (
        "a.com",
        "b.com",
    )


def value(text: str, setting: str, **environ: str) -> Any:
    instance = read_instance(text, environ)
    assert instance.problems == []
    return getattr(Settings.model_validate({"data_url": "file:///x", **instance.values}), setting)


@pytest.mark.parametrize("text", ["${}", "${A B}", "${A:x}", "${1}", "x ${A", "${A-b}"])
def test_text_that_looks_like_a_variable_is_reported(text: str) -> None:
    (problem,) = problems(f"instance:\n  name: '{text}'\n", A="a")
    assert "is not a valid variable reference; write ${NAME}, or $${ for a literal ${" in problem


def test_values_of_variables_are_never_shown() -> None:
    text = """\
auth: {allowed_domains: "${KEY}", seed_admin_email: "${KEY}", access_max_age: "${KEY}"}
server: {base_url: "http://${KEY} x", secret_key: "${KEY}"}
email: {from: "x${KEY}"}
sources: {shop: {type: "${KEY}"}}
schedules: {sync: "${KEY}", sweep: "daily 05:00 ${ZONE}"}
"""
    messages = problems(text, KEY="hunter2 ,b c", ZONE="hunter2")
    assert len(messages) == 10
    assert "hunter2" not in "".join(messages)
    assert "what ${KEY} stands for is not a valid domain name (expected something like example.com)" in messages[0]


@pytest.mark.parametrize("config", ["encoding: '${KEY}'", "types: {a: '${KEY}'}", "delimiter: '${KEY}'"])
def test_a_connector_does_not_show_values_of_variables_either(config: str) -> None:
    (message,) = problems(f"sources: {{shop: {{config: {{path: /x, {config}}}}}}}", KEY="¤¤¤")
    assert message.endswith("what ${KEY} stands for is not valid here")


def test_secrets_in_the_file_cause_a_warning_and_are_never_shown() -> None:
    text = f"""\
server:
  secret_key: hunter2-{KEY}
  secret_keys_old: ["${{OLD}}", hunter2]
email: {{smtp_user: u, smtp_password: "${{PASSWORD:-hunter2}}"}}
service: {{token: "${{TOKEN}}"}}
sources: {{shop: {{type: external, config: {{storage_token: hunter2, token_env: A}}}}}}
"""
    assert problems(text, OLD=KEY, TOKEN=KEY) == [
        "f:3 server.secret_keys_old[1]: must have at least 32 characters; create one with: openssl rand -hex 32"
    ]
    messages = warnings(text, OLD=KEY, TOKEN=KEY)
    assert [line.split(":")[1].split()[1] for line in messages] == [
        "server.secret_key",
        "server.secret_keys_old[1]",
        "email.smtp_password",
        "sources.shop.config.storage_token",
    ]
    assert "write ${SECRET_KEY} here and put the value in that variable" in messages[0]
    assert "hunter2" not in "".join(messages)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a: [", "<stream end>'; check the brackets, quotes and indentation on this line"),
        ("a:\n\t- b", "cannot start any token; indent with spaces instead of tabs"),
        ("- a", "f:1 must be a mapping of keys"),
        ("a", "f:1 must be a mapping of keys"),
        (
            "auth: &a {}\nemail: *a",
            "f:2 the file is not valid YAML: *a is an alias, which is not supported; repeat the value instead",
        ),
        ("[" * 10_000, "f:1 the file is not valid YAML: the value is nested too deeply"),
        ("instance: {name: !x y}", "instance.name: has the tag !x"),
        ("instance: {name: !!python/name:os.system }", "has the tag tag:yaml.org,2002:python/name:os.system"),
        ("auth: {? [a] : b}", "f:1 auth: has a key that is not text"),
        ("auth: {<<: {a: b}}", "f:1 auth: has a key that is not text"),
        ("instance: {name: ${NAME}}", "put quotes around values that contain ${…}"),
        ("a: \x00", "the file is not valid YAML: special characters are not allowed"),
        ("a: x" * 100_000, "the file is larger than 256 kB"),
    ],
)
def test_a_file_without_settings_is_reported(text: str, reason: str) -> None:
    assert any(reason in problem for problem in problems(text)), problems(text)


@pytest.mark.parametrize("text", ["", "~", "# nothing\n", "instance:\nauth: ~\n", "instance: {name: ''}", "\ufeff"])
def test_a_file_may_be_empty(text: str) -> None:
    assert found(text.removeprefix("\ufeff")) == Findings(problems=(), warnings=())


@pytest.mark.parametrize("text", ["No", "007", "12:30", "1e3", "2026-01-01", "null and void"])
def test_a_text_is_not_converted_to_another_yaml_type(text: str) -> None:
    assert value(f"instance: {{name: {text}}}", "instance_name") == text


@given(st.text(alphabet=st.sampled_from("ab:-[]{}\n \t'\"${}&*!#,|>?~\x00é"), max_size=60))
@settings(max_examples=examples(100), deadline=None, suppress_health_check=list(HealthCheck))
def test_any_text_is_read_or_refused(text: str) -> None:
    assert found(text).problems is not None


class TestWhereItIs:
    def test_without_a_name_the_file_is_read_from_its_usual_place(self, tmp_path: Path) -> None:
        usual = tmp_path / "instance.yaml"
        assert Configuration.read(PLAIN, usual).file is None
        usual.write_bytes("\ufeffinstance: {name: Čapek}".encode())
        made = Configuration.read(PLAIN, usual)
        assert (made.file, made.settings.instance_name) == (str(usual), "Čapek")
        assert (made.origins, made.lines) == (
            {"instance_name": "file", "data_url": "environment"},
            {"instance_name": 1},
        )

    def test_a_named_file_must_be_readable(self, tmp_path: Path) -> None:
        with pytest.raises(SettingsError, match=r"CONFIG_FILE: .*nowhere.yaml' can't be read: No such file"):
            read_settings({**PLAIN, "CONFIG_FILE": str(tmp_path / "nowhere.yaml")})
        (tmp_path / "latin.yaml").write_bytes(b"instance: {name: \xe9}")
        with pytest.raises(SettingsError, match="is not UTF-8 text"):
            read_settings({**PLAIN, "CONFIG_FILE": str(tmp_path / "latin.yaml")})


class TestLookups:
    @pytest.fixture(autouse=True)
    def here(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        (tmp_path / "config").mkdir()
        (tmp_path / "config/instance.yaml").write_text(
            "auth: {allowed_domains: [example.com]}\ndata_source: {type: keboola}\n"
        )

    def test_a_value_is_given_by_its_key(self) -> None:
        assert get_value("auth.allowed_domains", environ=PLAIN) == ("example.com",)
        assert get_value("auth.allowed_domains", environ={**PLAIN, "ALLOWED_DOMAINS": "a.com"}) == ("a.com",)
        assert get_value("server.secret_key", environ={**PLAIN, "SECRET_KEY": KEY}) == SecretStr(KEY)
        assert get_value("tables", environ=PLAIN) == {"public": False, "profile_after_sync": True}

    def test_unset_values_have_their_default(self) -> None:
        assert get_value("instance.subtitle", "none", PLAIN) == "none"
        assert get_value("auth.nothing", "none", PLAIN) == "none"
        assert get_value("nothing", environ=PLAIN) is None

    def test_an_unknown_type_of_source_is_reported(self) -> None:
        assert get_data_source_type(PLAIN) == "keboola"
        assert get_data_source_type({**PLAIN, "DATA_SOURCE": "jira"}) == "jira"

    def test_unusable_settings_are_an_error(self) -> None:
        with pytest.raises(SettingsError):
            get_value("instance.name", environ={})


def test_custom_fields_of_jira_become_columns(tmp_path: Path) -> None:
    made = read(tmp_path, "jira:\n  custom_fields: [{field: Severity, column: severity, type: option}]\n")
    assert [field.model_dump() for field in made.jira_custom_fields] == [
        {"field": "Severity", "column": "severity", "type": "option"}
    ]


def test_an_invalid_custom_field_of_jira_is_reported() -> None:
    text = "jira:\n  custom_fields:\n    - {field: A, column: Not A Name}\n    - {field: B, column: b, type: word}\n"
    kind, column = problems(text)[1], problems(text)[0]
    assert "custom_fields[0].column" in column
    assert "custom_fields[1].type" in kind
    twice = "jira: {custom_fields: [{field: A, column: a}, {field: B, column: a}]}"
    assert problems(twice) == ["f:1 jira.custom_fields: maps two fields to the column 'a'; remove one of them"]
