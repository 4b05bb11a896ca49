"""Lists the packages of an image: a bill of materials (CycloneDX 1.6), and their licences as text.

Usage: sbom.py FOLDER writes `sbom.cdx.json` and `LICENSES.txt`, for the packages of the Python that runs it.
"""

import json
import sys
from collections.abc import Iterable
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import Any, Final

_CLASSIFIER: Final = "License :: "
_LONGEST: Final = 100
_FILES: Final = ("licen", "copying", "notice")


def licence_of(package: Distribution) -> str:
    """Return the licence that a package states, as an SPDX expression where it has one."""
    stated = package.metadata
    if expressions := stated.get_all("License-Expression"):
        return str(expressions[0])
    classes = [text for text in stated.get_all("Classifier") or () if text.startswith(_CLASSIFIER)]
    if classes:
        return ", ".join(text.rpartition(" :: ")[2] for text in classes)
    text = "".join(stated.get_all("License") or ()).strip()
    return text if text and "\n" not in text and len(text) <= _LONGEST else "see its licence file"


def bill(packages: Iterable[Distribution]) -> dict[str, Any]:
    """Return the bill of materials."""
    components = [
        {
            "type": "library",
            "bom-ref": f"pkg:pypi/{package.name.lower()}@{package.version}",
            "name": package.name,
            "version": package.version,
            "purl": f"pkg:pypi/{package.name.lower()}@{package.version}",
            "licenses": [{"license": {"name": licence_of(package)}}],
        }
        for package in packages
    ]
    return {"bomFormat": "CycloneDX", "specVersion": "1.6", "version": 1, "components": components}


def licences(packages: Iterable[Distribution]) -> str:
    """Return all packages with their licences, and the texts of the licence files that they have."""
    parts: list[str] = []
    for package in packages:
        parts.append(f"{package.name} {package.version}: {licence_of(package)}\n")
        texts = (file for file in package.files or () if file.name.lower().startswith(_FILES))
        parts += [Path(str(file.locate())).read_text("utf-8", errors="replace").strip() + "\n" for file in texts]
        parts.append("-" * 80 + "\n")
    return "\n".join(parts)


def main(folder: Path) -> None:
    """Write both files."""
    packages = sorted(distributions(), key=lambda package: package.name.lower())
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "sbom.cdx.json").write_text(json.dumps(bill(packages), indent=1) + "\n", encoding="utf-8")
    (folder / "LICENSES.txt").write_text(licences(packages), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
