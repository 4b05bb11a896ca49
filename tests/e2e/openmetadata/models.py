"""Checks documents against the models that OpenMetadata publishes; runs in .venv-openmetadata.

Reads a JSON array of [model, document] from standard input and prints an array of problems.
"""

import importlib
import importlib.util
import json
import sys
import types

from pydantic import BaseModel, ValidationError

SCHEMAS = "metadata.generated.schema"


def model(name: str) -> type[BaseModel]:
    """Return a model by its path below the schemas, such as `entity.data.table.Table`."""
    module, _, kind = name.rpartition(".")
    found: type[BaseModel] = getattr(importlib.import_module(f"{SCHEMAS}.{module}"), kind)
    return found


def problems(name: str, document: object) -> list[str]:
    """Return what a model refuses of a document; a list of names is checked to be names of its fields."""
    found = model(name)
    if isinstance(document, list):
        return [f"{name} has no field {each!r}" for each in document if each not in found.model_fields]
    try:
        found.model_validate(document)
    except ValidationError as error:
        return [f"{name}: {each['loc']}: {each['msg']}" for each in error.errors()]
    return []


# importing the package itself would import what is not installed
spec = importlib.util.find_spec("metadata")
package = types.ModuleType("metadata")
package.__path__ = list((spec and spec.submodule_search_locations) or ())
sys.modules["metadata"] = package

print(json.dumps([each for name, document in json.load(sys.stdin) for each in problems(name, document)]))
