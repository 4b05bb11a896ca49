"""`da memory` and `da admin memory` with a server and the double of a model."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import da as package
from tests.processes import BOOTSTRAP_SECRET, host

if TYPE_CHECKING:  # not there where only the packages of `da` are
    from collections.abc import Mapping

    from tests.clouds import Cloud
    from tests.integration.da.conftest import Da

jsonschema = pytest.importorskip("jsonschema")
SCHEMAS = Path(package.__file__).parent / "schemas"


@pytest.mark.server
def test_items_are_proposed_reviewed_voted_for_and_merged(
    da: "Da", cloud: "Cloud", tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.doubles.models import KEY, model

    def ask(name: str, *arguments: str, code: int = 0) -> Any:
        ran = da(*name.split("."), *arguments, "--json")
        assert ran.code == code, ran
        document = json.loads(ran.out)
        jsonschema.validate(document, json.loads((SCHEMAS / f"{name}.json").read_text()))
        return document

    def nothing(_system: str, _text: str, _schema: "Mapping[str, Any]") -> Any:
        return {"items": []}

    monkeypatch.setenv("BOOTSTRAP_SECRET", BOOTSTRAP_SECRET)
    with model("anthropic", nothing) as double:
        settings: dict[str, Any] = {"MEMORY_MODEL": "m", "MEMORY_MODEL_URL": double.url, "MEMORY_MODEL_KEY": KEY}
        with host(tmp_path, cloud, ACCESS_MAX_AGE="0", **settings, fork=True) as server:
            assert da("login", "--server", server.url, "--bootstrap", "eve@example.com").code == 0
            one = ask("memory.propose", "Net", "Totals exclude VAT.", "--tag", "vat")["id"]
            two = ask("memory.propose", "Gross", "password: hunter2", "--category", "workflow")["id"]
            assert "[secret removed]" in da("memory", "show", two).out
            missing = da("memory", "propose", "X", "Y", "--table", "shop.missing")
            assert (missing.code, "no table 'shop.missing'" in missing.err) == (1, True)
            assert {each["id"] for each in ask("admin.memory.review")["waiting"]} == {one, two}
            planned = ask("admin.memory.review", "--all", "--action", "approve", "--dry-run")
            assert planned["done"] == {one: "approved", two: "approved"}
            assert ask("memory.list", "--status", "approved")["items"] == []
            assert ask("admin.memory.review", one, "-a", "approve")["done"] == {one: "approved"}
            refused = ask("admin.memory.review", one, two, "km_000000000000", "-a", "approve", code=1)
            assert (refused["done"], len(refused["refused"])) == ({two: "approved"}, 2)
            assert ask("memory.vote", one, "up")["upvotes"] == 1
            assert [each["id"] for each in ask("memory.list", "--rules")["items"]] == [one]
            assert ask("memory.list", "vat")["count"] == 1
            assert ask("memory.show", one)["history"][0]["action"] == "approve"
            assert ask("admin.memory.merge", two, one, "--text", "Net of VAT.")["content"] == "Net of VAT."
            assert ask("memory.show", two)["status"] == "rejected"
            assert ask("admin.memory.collect", "--dry-run")["notes"] == 0
            for arguments, code in (
                (("memory", "show", "km_000000000000"), 1),
                (("memory", "vote", two, "up"), 1),
                (("memory", "list", "x", "--rules"), 2),
                (("admin", "memory", "review", one), 2),
                (("admin", "memory", "review", one, "--all", "-a", "approve"), 2),
                (("admin", "memory", "review", "-a", "approve"), 2),
                (("admin", "memory", "review", one, "-a", "mandate"), 1),
            ):
                assert da(*arguments).code == code, arguments
            assert "There are no items to decide on" in da("admin", "memory", "review").out
            assert one in da("memory", "list").out
