"""`da setup`: its questions, the files that it writes, and its messages on mistakes."""

import io
import json
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from da.setup.answers import AFTERWARDS, AVAILABLE
from tests.doubles.functions_api import ADMIN, TOKEN, FunctionsApi
from tests.integration.da.conftest import Da, Ran

APPLY = "/api/admin/config/apply"
RUN = {"run_id": "r1", "kind": "extract", "source": "shop", "status": "ok", "tables": []}
Typed = Callable[..., Ran]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, config_dir: Path) -> Path:
    """The project's folder, where the user is, with a folder of files in it."""
    assert config_dir
    folder = tmp_path / "my project"
    (folder / "sources" / "shop").mkdir(parents=True)
    (folder / "sources" / "shop" / "orders.csv").write_text("id\n1\n")
    (folder / "docker-compose.yml").touch()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def typed(da: Da, monkeypatch: pytest.MonkeyPatch) -> Typed:
    """Run `da setup` with these lines on stdin."""

    def run(*lines: str, options: tuple[str, ...] = ()) -> Ran:
        monkeypatch.setattr("sys.stdin", io.StringIO("".join(f"{line}\n" for line in lines)))
        return da("setup", *options)

    return run


@pytest.fixture
def ready(api: FunctionsApi) -> FunctionsApi:
    """A server that has read the files."""
    api.answers["POST", "/auth/bootstrap"] = [(201, {"token": TOKEN, "token_id": "t1", "user": ADMIN})]
    api.answers["POST", APPLY] = [(200, {"sources": [{"name": "shop", "type": "csv", "outcome": "created"}]})]
    api.answers["POST", "/api/sync/trigger"] = [(202, {"runs": [{"source": "shop", "run_id": "r1"}]})]
    api.answers["GET", "/api/sync/status"] = [(200, {"runs": [RUN]})]
    api.answers["POST", "/rebuild"] = [(200, {"status": "published", "snapshot": 1, "tables": 1, "problems": []})]
    api.put("shop.orders", "select 1 as id")
    return api


def options(server: str, **more: str) -> tuple[str, ...]:
    answers = {"domain": "example.com", "email": "Ann@example.com", "data": "sources/shop", "server": server, **more}
    return ("--yes", *(part for name, value in answers.items() for part in (f"--{name}", value)))


def env(project: Path) -> dict[str, str]:
    lines = (project / ".env").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))


def test_setup_leads_from_the_first_question_to_the_mirrored_table(
    typed: Typed, ready: FunctionsApi, project: Path
) -> None:
    ran = typed("Example.com", "", "Ann@Example.com", "", "sources/shop", "", ready.address)
    assert (ran.code, ran.err) == (0, "")
    assert "Created the first administrator ann@example.com and logged in." in ran.out
    assert "Source shop (csv): created." in ran.out
    assert "cd analysis" in ran.out
    assert len(list((project / "analysis/server/parquet/shop/orders").iterdir())) == 1


def test_the_files_contain_the_answers(da: Da, project: Path) -> None:
    da("setup", *options("http://127.0.0.1:1", name='Ex. ${A} "Č"'))
    text = (project / "config/instance.yaml").read_text()
    assert 'name: "Ex. $${A} \\"Č\\""' in text
    assert 'allowed_domains: ["example.com"]' in text
    assert "  shop:\n    config:\n" in text
    assert '      path: "shop"\n' in text
    assert stat.S_IMODE((project / ".env").stat().st_mode) == 0o600
    variables = env(project)
    assert (variables["SOURCES"], variables["PORT"]) == ("./sources", "1")
    secrets = [variables[name] for name in ("SERVICE_TOKEN", "BOOTSTRAP_SECRET", "SECRET_KEY")]
    assert len(set(secrets)) == 3
    assert {len(secret) for secret in secrets} == {64}


def test_a_server_elsewhere_is_named_in_the_file(da: Da, project: Path) -> None:
    ran = da("setup", *options("https://data.invalid/da/"))
    assert (ran.code, "Start the functions there" in ran.err) == (1, True)
    assert 'base_url: "https://data.invalid/da"' in (project / "config/instance.yaml").read_text()
    assert "PORT" not in env(project)


def test_answered_questions_are_not_asked_again(typed: Typed, ready: FunctionsApi, project: Path) -> None:
    ran = typed("example.com", "", "ann@example.com")
    assert (ran.code, ran.err) == (
        2,
        "da: no answer to 'Type of your data source (csv, keboola, bigquery)': the input ended; give --source\n",
    )
    assert not (project / ".env").exists()
    ran = typed("", "", "", ready.address)
    assert ran.code == 0
    assert "domain" not in ran.out
    assert 'name: "Example Data Analyst"' in (project / "config/instance.yaml").read_text()


def test_a_second_run_changes_nothing_and_succeeds(da: Da, ready: FunctionsApi, project: Path) -> None:
    assert da("setup", *options(ready.address)).code == 0
    before = {path: (project / path).read_bytes() for path in (".env", "config/instance.yaml", ".setup.json")}
    (project / "config/instance.yaml").write_text("# edited since\n")
    ready.forget()
    ran = da("setup")
    assert (ran.code, ran.err) == (0, "")
    assert "are unchanged" in ran.out
    assert "Logged in as ann@example.com (admin)." in ran.out
    assert ready.count("/auth/bootstrap") == 0
    assert (project / "config/instance.yaml").read_text() == "# edited since\n"
    assert {path: (project / path).read_bytes() for path in (".env", ".setup.json")} == {
        path: before[path] for path in (".env", ".setup.json")
    }


@pytest.mark.parametrize("variable", ["DA_TOKEN", "DA_TOKEN_FILE"])
def test_a_token_for_another_server_is_ignored(
    variable: str, da: Da, ready: FunctionsApi, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project / "token").write_text("da_" + "x" * 43)
    monkeypatch.setenv(variable, str(project / "token") if variable == "DA_TOKEN_FILE" else "da_" + "x" * 43)
    assert da("setup", *options(ready.address)).code == 0
    ready.forget()
    assert da("setup").code == 0
    assert ready.count("/auth/bootstrap") == 0


def test_after_a_lost_bootstrap_answer_the_same_token_is_requested(da: Da, ready: FunctionsApi, project: Path) -> None:
    made = ready.answers.pop(("POST", "/auth/bootstrap"))
    ready.answers["POST", "/auth/bootstrap"] = [(500, {"detail": "lost"})]
    assert da("setup", *options(ready.address)).code == 1
    ready.answers["POST", "/auth/bootstrap"] = made
    assert da("setup").code == 0
    tokens = {body["token"] for body in ready.bodies if "secret" in body}
    assert len(tokens) == 1
    assert tokens != {None}
    assert json.loads((project / ".setup.json").read_text())["token"] is None


def test_files_that_contradict_the_answers_are_kept(da: Da, project: Path) -> None:
    (project / ".env").write_text("SOURCES=/elsewhere\n")
    ran = da("setup", *options("http://127.0.0.1:1"))
    assert (ran.code, "--force" in ran.err, ran.err.count("\n")) == (1, True, 1)
    assert not (project / "config").exists()
    assert (project / ".env").read_text() == "SOURCES=/elsewhere\n"


def test_a_file_that_does_not_contradict_the_answers_is_completed(da: Da, project: Path) -> None:
    """As `make configure` has written it."""
    (project / ".env").write_text("# ours\nSECRET_KEY=old\nSOURCES=\nPORT=\nSMTP_HOST=smtp.example.com\n# end")
    da("setup", *options("http://127.0.0.1:1"))
    lines = (project / ".env").read_text().splitlines()
    assert lines[:6] == [
        "# ours",
        "SECRET_KEY=old",
        "SOURCES=./sources",
        "PORT=1",
        "SMTP_HOST=smtp.example.com",
        "# end",
    ]
    assert [line.split("=")[0] for line in lines[6:]] == ["SERVICE_TOKEN", "BOOTSTRAP_SECRET"]
    before = (project / ".env").read_bytes()
    da("setup", *options("http://127.0.0.1:1"))
    assert (project / ".env").read_bytes() == before


def test_changed_answers_need_force_which_keeps_secrets_and_a_backup(da: Da, project: Path) -> None:
    da("setup", *options("http://127.0.0.1:1"))
    before, text = env(project), (project / "config/instance.yaml").read_text()
    with (project / ".env").open("a") as file:
        file.write("SMTP_HOST=smtp.example.com # ours\n")
    ran = da("setup", "--domain", "example.org")
    assert (ran.code, "with different answers" in ran.err) == (1, True)
    assert (project / "config/instance.yaml").read_text() == text
    for number, domain in (("", "example.org"), ("1", "example.net")):
        ran = da("setup", "--domain", domain, "--force")
        assert f"the previous file is kept as instance.yaml.backup{number}" in ran.out
    assert (project / "config/instance.yaml.backup").read_text() == text
    assert 'allowed_domains: ["example.net"]' in (project / "config/instance.yaml").read_text()
    assert env(project) == {**before, "SMTP_HOST": "smtp.example.com # ours"}


def test_for_a_folder_elsewhere_its_parent_becomes_the_folder_of_sources(da: Da, project: Path, tmp_path: Path) -> None:
    (tmp_path / "exports" / "erp").mkdir(parents=True)
    (tmp_path / "exports" / "erp" / "invoices.csv").write_text("id\n1\n")
    da("setup", *options("http://127.0.0.1:1", data=str(tmp_path / "exports" / "erp")))
    assert env(project)["SOURCES"].strip("'") == str(tmp_path / "exports")
    assert "  erp:\n    config:\n" in (project / "config/instance.yaml").read_text()
    assert '      path: "erp"\n' in (project / "config/instance.yaml").read_text()


WRONG: dict[str, tuple[dict[str, str], str]] = {
    "domain": ({"domain": "ex ample"}, "'ex ample' is not a valid domain name"),
    "email": ({"email": "ann"}, "'ann' is not a valid email address"),
    "name": ({"name": "a\tb"}, "is not a valid name"),
    "the folder of all": ({"data": "sources"}, "has a folder for each source; give one of these, such as sources/it's"),
    "beside secrets": ({"data": "shop"}, "cp -r"),
    "folder": ({"data": "nowhere"}, "is not a folder; create it, or generate sample data"),
    "no files": ({"data": "sources/zero"}, "has no data files (.csv"),
    "elsewhere": ({"data": "gs://bucket/x"}, "da admin sources add"),
    "odd folder": ({"data": "sources/it's"}, "rename it"),
    "source": ({"source": "oracle"}, "'oracle' is not a valid source type (expected csv, keboola, bigquery)"),
    "afterwards": (
        {"source": "jira"},
        "'jira' can't be added by da setup: set up a csv source first, then connect Jira",
    ),
    "source name": ({"source-name": "My Shop"}, "is not a valid source name"),
    "server": ({"server": "data.example.com"}, "is not a valid server URL"),
}


@pytest.mark.parametrize(("wrong", "message"), WRONG.values(), ids=WRONG)
def test_an_invalid_answer_is_reported(da: Da, project: Path, wrong: dict[str, str], message: str) -> None:
    for name in ("sources/zero", "sources/it's", "shop"):
        (project / name).mkdir()
    (project / "sources" / "zero" / ".hidden.csv").touch()
    ran = da("setup", *options(**{"server": "http://127.0.0.1:1", **wrong}))
    assert (ran.code, ran.err.count("\n")) == (2, 1)
    assert message in ran.err
    assert not (project / ".env").exists()


def test_without_a_terminal_missing_answers_are_errors(da: Da, project: Path) -> None:
    assert project
    ran = da("setup", "--yes")
    assert (ran.code, ran.err) == (2, "da: --yes needs answers without a default: give --domain, --email\n")


def test_outside_the_project_setup_does_nothing(da: Da, project: Path) -> None:
    (project / "docker-compose.yml").unlink()
    ran = da("setup", *options("http://127.0.0.1:1"))
    assert (ran.code, "change to the project folder first" in ran.err) == (2, True)
    assert [path.name for path in project.iterdir()] == ["sources"]


def test_for_a_server_that_is_not_running_setup_explains_how_to_start_it(da: Da, project: Path) -> None:
    ran = da("setup", *options("http://127.0.0.1:1"))
    assert ran.code == 1
    assert f"in {project}:\n  docker compose up --build -d" in ran.err
    assert "  make dev PORT=1  " in ran.err
    assert ran.err.endswith("Then run da setup again to continue.\n")


TURNS: dict[str, tuple[tuple[str, str], tuple[int, Any], str]] = {
    "another secret": (("POST", "/auth/bootstrap"), (403, {"detail": "no"}), "uses another BOOTSTRAP_SECRET than"),
    "done before": (("POST", "/auth/bootstrap"), (409, {"detail": "no"}), "Log in as an administrator: da login"),
    "stale": (("POST", APPLY), (200, {"sources": []}), "has no source 'shop'"),
    "settings": (("GET", "/api/health"), (500, {"detail": "x", "code": "settings"}), "its settings are invalid"),
    "something else": (
        ("GET", "/api/health"),
        (404, None),
        "is not from an AI Data Analyst server; give another --server",
    ),
    "not admin": (
        ("GET", "/api/me"),
        (200, {**ADMIN, "role": "analyst"}),
        "not an administrator; log in as one: da login",
    ),
    "older": (("POST", APPLY), (200, {"other": []}), "da and the server have different versions"),
}


@pytest.mark.parametrize("turn", TURNS)
def test_every_mistake_gets_a_clear_next_step(da: Da, ready: FunctionsApi, project: Path, turn: str) -> None:
    assert project
    asked, answer, message = TURNS[turn]
    if turn == "not admin":
        da("login", "--server", ready.address, "--token", TOKEN)
    ready.answers[asked] = [answer]
    ran = da("setup", *options(ready.address))
    assert ran.code == 1
    assert message in ran.err


def test_a_failed_table_is_reported_and_the_others_are_mirrored(da: Da, ready: FunctionsApi, project: Path) -> None:
    failed = {"table": "bad", "status": "failed", "error": "line 3 is odd"}
    ready.answers["GET", "/api/sync/status"] = [(200, {"runs": [{**RUN, "status": "partial", "tables": [failed]}]})]
    ran = da("setup", *options(ready.address))
    assert ran.code == 1
    assert "shop.bad: failed: line 3 is odd" in ran.out
    assert "After fixing the cause, run: da admin sync shop" in ran.out
    assert (project / "analysis/server/parquet/shop/orders").is_dir()


def test_a_damaged_progress_file_is_reported(da: Da, project: Path) -> None:
    (project / ".setup.json").write_text("{}")
    ran = da("setup", *options("http://127.0.0.1:1"))
    assert (ran.code, "delete it and run da setup again" in ran.err) == (1, True)


@pytest.mark.server
def test_every_type_of_source_is_offered() -> None:
    from analyst.connectors.source_types import SOURCE_TYPES

    assert {*AVAILABLE, *AFTERWARDS} == set(SOURCE_TYPES)


def test_a_keboola_project_is_set_up_from_its_token(
    da: Da, project: Path, ready: FunctionsApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KEBOOLA_STORAGE_TOKEN", "12-34-secret")
    ready.answers["POST", APPLY] = [(200, {"sources": [{"name": "kbc", "type": "keboola", "outcome": "created"}]})]
    answers = {"domain": "example.com", "email": "ann@example.com", "source": "keboola", "buckets": "in.c-crm, out.*"}
    given = {**answers, "server": ready.address}
    ran = da("setup", "--yes", *(part for name, value in given.items() for part in (f"--{name}", value)))
    assert ran.code == 0, ran
    env = (project / ".env").read_text()
    assert "KEBOOLA_STORAGE_TOKEN=12-34-secret\n" in env
    assert "KEBOOLA_STACK_URL=https://connection.keboola.com\n" in env
    instance = (project / "config/instance.yaml").read_text()
    assert "type: keboola" in instance
    assert 'buckets: "in.c-crm,out.*"' in instance
    assert "secret" not in (project / ".setup.json").read_text() + instance + ran.out + ran.err


def test_a_bigquery_project_is_set_up(da: Da, project: Path, ready: FunctionsApi) -> None:
    ready.answers["POST", APPLY] = [(200, {"sources": [{"name": "bq", "type": "bigquery", "outcome": "created"}]})]
    answers = {"domain": "example.com", "email": "ann@example.com", "source": "bigquery", "datasets": "sales, crm_*"}
    given = {**answers, "project": "my-project-123", "server": ready.address}
    ran = da("setup", "--yes", *(part for name, value in given.items() for part in (f"--{name}", value)))
    assert ran.code == 0, ran
    assert "BIGQUERY_PROJECT=my-project-123\n" in (project / ".env").read_text()
    instance = (project / "config/instance.yaml").read_text()
    assert "type: bigquery" in instance
    assert 'datasets: "sales,crm_*"' in instance
    refused = da(
        "setup", "--yes", *(f"--{name}={value}" for name, value in (given | {"project": "My Project"}).items())
    )
    assert "'My Project' is not the id of a Google Cloud project" in refused.err


def test_without_a_token_or_buckets_a_keboola_project_is_not_set_up(
    da: Da, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert project.is_dir()
    monkeypatch.delenv("KEBOOLA_STORAGE_TOKEN", raising=False)
    ran = da("setup", "--yes", "--domain", "example.com", "--email", "ann@example.com", "--source", "keboola")
    assert "give KEBOOLA_STORAGE_TOKEN, --buckets" in ran.err
