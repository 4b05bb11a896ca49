"""Where definitions of metrics come from: files beside the configuration, and the registry in the bucket."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError
from ulid import ULID

from analyst.errors import InvalidInputError, NotFoundError, UnavailableError
from analyst.metrics.definition import MOST, MetricDefinition, parse
from analyst.store import Object, Store
from analyst.store.compare_and_swap import swap

KEY: Final = "catalog/metric_definitions.json"
_LARGEST: Final = 1 << 20
_RECENT: Final = 50


class Defined(BaseModel):
    """A definition with its origin: the path of its file, or `registry`."""

    model_config = ConfigDict(frozen=True)

    definition: MetricDefinition
    origin: str
    changed_by: str | None = None
    changed_at: datetime | None = None


class FileProblem(BaseModel):
    """A file that defines no usable metric, and why."""

    model_config = ConfigDict(frozen=True)

    file: str
    message: str


class _Registry(BaseModel):
    model_config = ConfigDict(frozen=True)

    recent: tuple[str, ...] = ()
    metrics: dict[str, Defined] = {}
    models: dict[str, dict[str, Any]] = {}
    """What imported documents of Ossie say of their semantic models, by name."""


def from_files(folder: Path) -> tuple[dict[str, Defined], list[FileProblem]]:
    """Read `**/*.yml` and `**/*.yaml` of a folder; files that can't be used are reported, and the others are read."""
    found: dict[str, Defined] = {}
    problems: list[FileProblem] = []
    paths = sorted([*folder.rglob("*.yml"), *folder.rglob("*.yaml")]) if folder.is_dir() else []
    for path in paths:
        name = path.relative_to(folder).as_posix()
        if path.name == "metrics.yml" and path.parent == folder:
            continue  # the index that older systems write beside the files
        try:
            made = list(parse(_read(path), name))
        except (InvalidInputError, OSError, UnicodeDecodeError) as error:
            problems.append(FileProblem(file=name, message=str(error)))
            continue
        for each in made:
            if each.name in found:
                message = f"the metric {each.name!r} is also defined in '{found[each.name].origin}'; rename one of them"
                problems.append(FileProblem(file=name, message=message))
            else:
                found[each.name] = Defined(definition=each, origin=name)
    return found, problems


def _read(path: Path) -> Any:
    if path.stat().st_size > _LARGEST:
        raise InvalidInputError(f"{path.name!r} is larger than 1 MB")
    return load_yaml(path.read_text(encoding="utf-8"), path.name)


class _Loader(yaml.SafeLoader):
    """A safe loader in which `on`, `yes` and dates are texts, as in YAML 1.2: joins have a key `on`."""


_Loader.yaml_implicit_resolvers = {
    first: [
        (tag, pattern)
        for tag, pattern in resolvers
        if not tag.endswith(":timestamp") and not (tag.endswith(":bool") and first in "yYnNoO")
    ]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def load_yaml(text: str, where: str) -> Any:
    """Parse YAML without its constructors.

    Raises:
        InvalidInputError: it is not YAML, or nested too deeply.
    """
    try:
        return yaml.load(text, Loader=_Loader)  # noqa: S506 - a safe loader
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        reason = " ".join(str(error).split())[:300]
        raise InvalidInputError(f"{where} is not valid YAML: {reason}") from None


_BREAKS: Final = re.compile("[\x85\u2028\u2029]")


class _Dumper(yaml.SafeDumper):
    """A safe dumper that escapes the line breaks of Unicode, which PyYAML would write plainly and read as spaces."""


_Dumper.add_representer(
    str,
    lambda dumper, text: dumper.represent_scalar(
        "tag:yaml.org,2002:str", text, style='"' if _BREAKS.search(text) else None
    ),
)


def dump_yaml(document: Any) -> str:
    """Return a document as YAML that `load_yaml` reads as it was."""
    text: str = yaml.dump(document, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)
    return text


@dataclass(frozen=True, slots=True)
class MetricRegistry:
    """The definitions in the bucket. They override those of files with the same name."""

    store: Store
    now: Callable[[], datetime]

    def read(self) -> Mapping[str, Defined]:
        """Return the definitions by name."""
        return _parsed(self.store.read(KEY)).metrics

    def models(self) -> Mapping[str, dict[str, Any]]:
        """Return what imported documents say of their semantic models."""
        return _parsed(self.store.read(KEY)).models

    def put(
        self,
        definitions: Iterable[MetricDefinition],
        by: str | None,
        models: Mapping[str, dict[str, Any]] | None = None,
    ) -> None:
        """Add definitions and semantic models, replacing those of the same names.

        Raises:
            InvalidInputError: there would be too many.
            UnavailableError: the store does not respond.
        """
        at = self.now()
        new = {
            each.name: Defined(definition=each, origin="registry", changed_by=by, changed_at=at) for each in definitions
        }
        self._edit(lambda known: {**known, **new}, models)

    def remove(self, name: str) -> None:
        """Remove a definition; a definition of the same name in a file takes effect again.

        Raises:
            NotFoundError: it is not in the registry.
        """

        def without(known: Mapping[str, Defined]) -> dict[str, Defined]:
            if name not in known:
                raise NotFoundError(f"there is no metric {name!r} in the registry")  # a near one may be hidden
            return {other: each for other, each in known.items() if other != name}

        self._edit(without)

    def _edit(
        self,
        edit: Callable[[Mapping[str, Defined]], dict[str, Defined]],
        models: Mapping[str, dict[str, Any]] | None = None,
    ) -> None:
        id_ = str(ULID())

        def change(current: Object | None) -> bytes:
            known = _parsed(current)
            metrics = edit(known.metrics)
            if len(metrics) > MOST:
                raise InvalidInputError(f"the registry can hold {MOST:,} metrics; remove some")
            recent = (*known.recent, id_)[-_RECENT:]
            made = _Registry(recent=recent, metrics=metrics, models={**known.models, **(models or {})})
            return made.model_dump_json().encode()

        swap(self.store, KEY, change, done=lambda current: id_ in _parsed(current).recent)


def _parsed(found: Object | None) -> _Registry:
    if found is None:
        return _Registry()
    try:
        return _Registry.model_validate_json(found.data)
    except ValidationError as error:
        raise UnavailableError(f"{KEY!r} is damaged or of a newer version; restore it from a backup") from error
