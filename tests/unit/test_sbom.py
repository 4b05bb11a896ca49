"""The bill of materials of an image names every package that it has."""

import json
import re
from pathlib import Path

from infra.sbom import main

ROOT = Path(__file__).parents[2]


def test_every_pinned_package_is_listed_with_its_licence(tmp_path: Path) -> None:
    main(tmp_path)
    document = json.loads((tmp_path / "sbom.cdx.json").read_text())
    assert (document["bomFormat"], document["specVersion"]) == ("CycloneDX", "1.6")
    found = {re.sub(r"[-_.]+", "-", one["name"]).lower(): one for one in document["components"]}
    pinned = re.findall(
        r"^([a-z0-9-]+)==(\S+) \\", (ROOT / "infra/requirements/functions.txt").read_text(), re.MULTILINE
    )
    assert len(pinned) > 40
    for name, version in pinned:
        assert found[name]["version"] == version
        assert found[name]["licenses"][0]["license"]["name"]
    text = (tmp_path / "LICENSES.txt").read_text()
    assert "duckdb 1." in text
    assert "Permission is hereby granted" in text
