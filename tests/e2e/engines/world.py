"""What the tests of the engines share: a process for each engine, and a bucket whose every version is kept to compare with."""

import json
import shutil
import subprocess
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from analyst import runs
from analyst.contract.extraction import Extraction
from analyst.store.folder.store import FileStore
from tests.doubles.toy_source import Toy, ToyTable
from tests.processes import ROOT

ENGINES = ("duckdb_delta", "deltalake", "polars", "daft", "sail")
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
_PYTHON = ROOT / ".venv-engines/bin/python"
_READER = Path(__file__).with_name("reader.py")


@dataclass(frozen=True, slots=True)
class Reader:
    """A process of one engine."""

    process: subprocess.Popen[str]

    def ask(self, table: Path, version: int | None, query: str) -> Any:
        """Return the rows of a query over `t`, or what the engine says is wrong."""
        assert self.process.stdin
        assert self.process.stdout
        question = json.dumps({"table": str(table), "version": version, "query": query})
        print(question, file=self.process.stdin, flush=True)
        answer = json.loads(self.process.stdout.readline())
        return answer["rows"] if "rows" in answer else answer["error"]


@dataclass(frozen=True, slots=True)
class Readers:
    """The engines that were asked for so far."""

    started: dict[str, Reader] = field(default_factory=dict)

    def __getitem__(self, engine: str) -> Reader:
        if engine not in self.started:
            command, pipe = [str(_PYTHON), str(_READER), engine], subprocess.PIPE
            process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True)
            self.started[engine] = Reader(process)
        return self.started[engine]

    def end(self) -> None:
        for reader in self.started.values():
            reader.process.communicate(timeout=60)


@dataclass(frozen=True, slots=True)
class Bucket:
    """A bucket of one source, and a copy of its extract.duckdb as it was after each publish."""

    folder: Path

    @property
    def store(self) -> FileStore:
        return FileStore(self.folder / "bucket", lambda: b"s" * 32)

    def publish(self, name: str, table: ToyTable, version: int) -> None:
        at = NOW + timedelta(minutes=version)
        ended = Extraction(self.store, "shop", runs.new_run_id(), lambda: at).run(lambda: Toy({name: table}))
        assert ended.record.status == "ok", ended.record
        self.keep(name, version)

    def keep(self, name: str, version: int) -> None:
        """Keep a copy of what is published now."""
        self.view(name, version).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(self.store.local_path("extracts/shop/extract.duckdb"), self.view(name, version))

    def table(self, name: str) -> Path:
        return self.store.local_path(f"extracts/shop/data/{name}")

    def view(self, name: str, version: int) -> Path:
        return self.folder / "views" / str(version) / f"{name}.duckdb"
