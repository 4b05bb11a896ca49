"""Writes the schemas of the provider and of the resources that `infra/terraform` uses, as `terraform providers schema -json` does.

They come from packages that are generated from the schemas of the provider: `cdktf-cdktf-provider-google` and its successor
`cdktn-provider-google`, of which `pip download --no-deps` gets a wheel. Usage: schema.py WHEEL ..., which writes a file for
each beside this one. What an attribute that may be set is computed from is not known, so every such one counts as computed.
"""

import io
import json
import re
import sys
import tarfile
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
TERRAFORM = HERE.parents[2] / "infra/terraform"
PROVIDER = "registry.terraform.io/hashicorp/google"

_ENTRY = re.compile(
    r"^ {8,12}(\w+): \{\s+value: (.+),\s+isBlock: (true|false),\s+type: \"(\w+)\",\s+storageClassType: \"(\w+)\",\s+\}",
    re.MULTILINE,
)
_FUNCTION = re.compile(r"^function (\w+)ToHclTerraform\(struct\) \{(.*?)^\}", re.MULTILINE | re.DOTALL)
_OWN = re.compile(r"^    synthesizeHclAttributes\(\) \{(.*?)^    \}", re.MULTILINE | re.DOTALL)
_INTERFACE = re.compile(r"^export interface (\w+)[^{]*\{(.*?)^\}", re.MULTILINE | re.DOTALL)
_PROPERTY = re.compile(r"#(\w+) \w+#\w+\}(?:(?!\*/).)*\*/\s+readonly \w+(\??):", re.DOTALL)
_READ = re.compile(
    r"^        return this\.get(String|Number|Boolean|List|StringMap)Attribute\('(\w+)'\);", re.MULTILINE
)
_MAPPER = re.compile(r"(\w+)ToHclTerraform\b")
_PRIMITIVES = {"string": "string", "number": "number", "boolean": "bool"}
_READ_TYPES: Mapping[str, Any] = {
    "String": "string",
    "Number": "number",
    "Boolean": "bool",
    "List": ["list", "string"],
    "StringMap": ["map", "string"],
}


def used() -> list[str]:
    """Return the types of the resources of `infra/terraform`."""
    text = "\n".join(path.read_text() for path in TERRAFORM.glob("*.tf"))
    return sorted(set(re.findall(r'^resource "(google_\w+)"', text, re.MULTILINE)))


def version_of(module: str) -> str:
    (version,) = set(re.findall(r"providerVersion: '([^']+)'", module))
    return str(version)


def resource(module: str, types: str) -> dict[str, Any]:
    """Return the schema of a resource from its module and the declarations of that."""
    functions = dict(_FUNCTION.findall(module))
    required = {
        name: {attribute for attribute, optional in _PROPERTY.findall(body) if not optional}
        for name, body in _INTERFACE.findall(types)
    }
    own = _OWN.findall(module)[-1]
    (kind,) = re.findall(r"^class (\w+) extends \w+\.Terraform(?:Resource|Provider)", module, re.MULTILINE)
    block = _block(own, required[f"{kind}Config"], functions, required)
    whole = module[module.rindex(f"class {kind} extends") :]
    for read, name in _READ.findall(whole):
        block["attributes"].setdefault(name, {"type": _READ_TYPES[read], "computed": True})
    return {"version": 0, "block": block}


def _block(
    body: str, needed: set[str], functions: Mapping[str, str], required: Mapping[str, set[str]]
) -> dict[str, Any]:
    attributes: dict[str, Any] = {}
    blocks: dict[str, Any] = {}
    for name, value, is_block, nesting, storage in _ENTRY.findall(body):
        if is_block == "false":
            flags = {"required": True} if name in needed else {"optional": True, "computed": True}
            attributes[name] = {"type": _type(nesting, storage), **flags}
            continue
        (mapper,) = _MAPPER.findall(value)
        inner = _block(functions[mapper], required[mapper[0].upper() + mapper[1:]], functions, required)
        made: dict[str, Any] = {"nesting_mode": "single" if nesting == "struct" else nesting, "block": inner}
        if name in needed:
            made["min_items"] = 1
        if nesting != "struct" and "listMapperHcl" not in value:
            made["max_items"] = 1
        blocks[name] = made
    return {"attributes": attributes, **({"block_types": blocks} if blocks else {})}


def _type(nesting: str, storage: str) -> Any:
    if nesting == "simple":
        return _PRIMITIVES[storage]
    element = storage.removesuffix("List").removesuffix("Map")
    return [nesting, _PRIMITIVES.get(element, "dynamic")]


def generated(wheel: Path, kinds: list[str]) -> Iterator[tuple[str, str, str]]:
    """Yield each type of resource with its module and the declarations of that."""
    with zipfile.ZipFile(wheel) as packed:
        (inner,) = [name for name in packed.namelist() if name.endswith(".jsii.tgz")]
        data = packed.read(inner)
    homes = {f"package/lib/{kind.removeprefix('google_').replace('_', '-')}": kind for kind in kinds}
    found: dict[str, list[tuple[str, str]]] = {kind: [] for kind in kinds}
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        for member in tar:
            home, _, rest = member.name.partition("/index")
            if home in homes and rest.endswith((".js", ".d.ts")) and (file := tar.extractfile(member)) is not None:
                found[homes[home]].append((rest, file.read().decode()))
    for kind in kinds:
        parts = sorted(
            found[kind], key=lambda part: part[0].count("/"), reverse=True
        )  # that of the resource comes last
        modules = "".join(text for name, text in parts if name.endswith(".js"))
        yield kind, modules, "".join(text for name, text in parts if name.endswith(".d.ts"))


def _lines(document: dict[str, Any]) -> str:
    """Return a document as JSON with a line for each resource."""
    made = document["provider_schemas"][PROVIDER]["resource_schemas"]
    lines = ",\n".join(
        f"{json.dumps(kind)}: {json.dumps(schema, separators=(',', ':'))}" for kind, schema in made.items()
    )
    emptied = {
        **document,
        "provider_schemas": {PROVIDER: {**document["provider_schemas"][PROVIDER], "resource_schemas": {}}},
    }
    head, tail = json.dumps(emptied).rsplit("{}", 1)
    return f"{head}{{\n{lines}\n}}{tail}"


def main() -> None:
    """Write a file for each wheel."""
    for wheel in map(Path, sys.argv[1:]):
        made, version = {}, ""
        for kind, module, types in generated(wheel, ["provider", *used()]):
            version = version_of(module)
            made[kind] = resource(module, types)
        provider = made.pop("provider")
        document = {
            "format_version": "1.0",
            "provider_schemas": {PROVIDER: {"provider": provider, "resource_schemas": made}},
        }
        (HERE / f"google-{version}.json").write_text(_lines(document) + "\n")


if __name__ == "__main__":
    main()
