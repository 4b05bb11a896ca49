"""Receipts: what a result was computed from, and its hash, so that anybody who can read the tables can compute it again.

`shared/docs/receipts.md` defines the fields, the hash of a result and the signature.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Any, Final, Literal, Self

from pydantic import (
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    StringConstraints,
    model_serializer,
)
from pydantic_core import PydanticCustomError

from analyst import visible_tables
from analyst.access import AccessList, Caller
from analyst.auth.keys import Keys, Purpose
from analyst.errors import InvalidInputError, NotFoundError, UnauthenticatedError, UnavailableError
from analyst.names import TableId
from analyst.query.engine import Engine, Query, Reader, Result
from analyst.query.live_rows import Live, Registered
from analyst.query.results import ENGINE
from analyst.query.statement import StatementError
from analyst.snapshots import Snapshot, Snapshots

_VALID: Final = timedelta(days=36_500)
_ROWS_COMPARED: Final = 10_000
_ROWS_SHOWN: Final = 10

Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


_LEAST, _MOST = -(2**127), 2**128 - 1
Value = str | Annotated[int, Field(ge=_LEAST, le=_MOST)] | float | bool | None


def _plain(given: Any) -> Any:
    """Refuse what no parameter can be, with one reason; an integer that is too large would become another number."""
    values = given.values() if isinstance(given, dict) else given if isinstance(given, list | tuple) else (given, [])
    for each in values:
        if not isinstance(each, str | float | None) and not (isinstance(each, int) and _LEAST <= each <= _MOST):
            raise PydanticCustomError(
                "parameters",
                "must be an object or a list of texts, numbers, true, false and null; integers have at most 128 bits",
            )
    return tuple(given) if isinstance(given, list) else given


Parameters = Annotated[dict[str, Value] | tuple[Value, ...], BeforeValidator(_plain)]
Text = Annotated[str, StringConstraints(max_length=1000)]


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class _Additions(_Value):
    """A value with fields that older versions do not have: written only if they say something, so old digests stay true."""

    @model_serializer(mode="wrap")
    def _without_defaults(self, written: SerializerFunctionWrapHandler) -> dict[str, Any]:
        added = {"live": False, "registered": ()}
        return {
            name: value
            for name, value in written(self).items()
            if name not in added or getattr(self, name) != added[name]
        }


class ReceiptTable(_Additions):
    """A table that a statement read. `hash` is the SHA-256 over the hashes of its files, as in the manifest.

    The rows of a `live` one were read from its source at that moment and are not kept; its hash covers its definition.
    """

    id: TableId
    hash: Sha256
    live: bool = False


class ReceiptNativeSql(_Value):
    """Native SQL whose result a statement used under a name: live rows of a source."""

    name: Text
    sql: Annotated[str, StringConstraints(min_length=1, max_length=100_000)]
    source: Text | None = None


class ReceiptColumn(_Value):
    """A column of a result. `type` is the DuckDB type."""

    name: str
    type: str


class Receipt(_Additions):
    """What a result was computed from, and its hash. Receipts of a mirror have no signature, user or snapshot number."""

    version: Annotated[int, Field(ge=1, le=1)] = 1
    statement: Annotated[str, StringConstraints(min_length=1, max_length=200_000)]
    parameters: Parameters = Field(default_factory=dict)
    limit: Annotated[int, Field(ge=0, le=100_000_000)] | None
    snapshot: Annotated[int, Field(ge=0, le=999_999_999)]
    tables: Annotated[tuple[ReceiptTable, ...], Field(max_length=1000)]
    engine: Text
    columns: Annotated[tuple[ReceiptColumn, ...], Field(max_length=100_000)]
    row_count: Annotated[int, Field(ge=0, le=2**62)]
    truncated: bool
    ordered: bool
    volatile: bool
    result: Sha256
    user: Text | None
    at: AwareDatetime
    registered: Annotated[tuple[ReceiptNativeSql, ...], Field(max_length=8)] = ()
    signature: Annotated[str, StringConstraints(max_length=2000)] | None = None

    def digest(self) -> str:
        """Return the SHA-256 (hex) of everything but the signature: its JSON, with sorted keys and no spaces."""
        plain = self.model_dump(mode="json", exclude={"signature"})
        text = json.dumps(plain, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()

    @property
    def live(self) -> tuple[str, ...]:
        """The tables, and the names of results of native SQL, whose rows nobody keeps."""
        return (*(table.id for table in self.tables if table.live), *(each.name for each in self.registered))

    @classmethod
    def issue(cls, result: Result, query: Query, caller: Caller, now: datetime, keys: Keys) -> Self | None:
        """Sign a receipt for a result; `None` if it was not hashed."""
        if result.hash is None:
            return None
        plain = cls(
            statement=result.statement.text,
            parameters=dict(query.parameters) if isinstance(query.parameters, Mapping) else tuple(query.parameters),
            limit=query.limit,
            snapshot=result.snapshot,
            tables=tuple(
                ReceiptTable(id=table.id, hash=table.hash, live=table.id in result.live) for table in result.tables
            ),
            engine=ENGINE,
            columns=tuple(ReceiptColumn(name=name, type=kind) for name, kind in result.columns),
            row_count=result.rows,
            truncated=result.truncated,
            ordered=result.statement.ordered,
            volatile=result.statement.volatile,
            result=result.hash,
            user=caller.email,
            at=now.replace(microsecond=0),
            registered=tuple(
                ReceiptNativeSql(name=each.alias, sql=each.sql, source=each.source) for each in result.registered
            ),
        )
        signature = keys.sign(Purpose.RECEIPT, plain.digest(), now, _VALID)
        return plain.model_copy(update={"signature": signature})

    def require_untouched(self, keys: Keys, now: datetime) -> None:
        """Check the signature, if there is one.

        Raises:
            InvalidInputError: the receipt was changed, or another server signed it.
        """
        if self.signature is None:
            return
        try:
            signed = keys.verify(Purpose.RECEIPT, self.signature, now)["sub"]
        except UnauthenticatedError:
            signed = None
        if signed != self.digest():
            raise InvalidInputError(
                "the receipt is not valid: it was changed after it was signed, or this server did not sign it; "
                "use the receipt exactly as you received it"
            )


Verdict = Literal["equal", "equal_other_engine", "tables_changed", "different", "no_longer_kept"]


class Replayed(BaseModel):
    """A result that was computed again, over a snapshot."""

    model_config = ConfigDict(frozen=True)

    snapshot: int
    row_count: int
    result: str


class Difference(BaseModel):
    """Rows that only one of two results has: how many there are, and the first of them."""

    model_config = ConfigDict(frozen=True)

    removed: int
    added: int
    removed_rows: tuple[Any, ...]
    added_rows: tuple[Any, ...]


class Verification(BaseModel):
    """The result of verifying a receipt.

    `equal`: the result is the same. `equal_other_engine`: the same, with another version of DuckDB. `different`: over
    the same data, it is not the same. `tables_changed`: `changed` tables have other data now; `then` is the result over
    the old data, if that is still kept and `reproduced` says whether it is the receipt's, `now` that over the new data,
    and `difference` what they differ by. `no_longer_kept`: the same, but the old data is gone.
    """

    model_config = ConfigDict(frozen=True)

    verdict: Verdict
    message: str
    signed: bool
    reproduced: bool | None
    changed: tuple[str, ...]
    engine: str
    then: Replayed | None = None
    now: Replayed | None = None
    difference: Difference | None = None


@dataclass(frozen=True, slots=True)
class Verifier:
    """Computes results again for a caller. `seconds` is the deadline of a statement."""

    engine: Engine
    snapshots: Snapshots
    access: AccessList
    caller: Caller
    seconds: float
    live: Live | None = None
    is_gone: Callable[[], bool] = lambda: False

    def verify(self, receipt: Receipt, keys: Keys, now: datetime) -> Verification:
        """Verify a receipt.

        Raises:
            InvalidInputError: it was changed.
            NotFoundError: the caller can't read one of its tables, or it no longer exists.
        """
        receipt.require_untouched(keys, now)
        current = self.snapshots.current()
        changed = tuple(
            table.id
            for table in receipt.tables
            if visible_tables.require(current, self.access, self.caller, table.id).hash != table.hash
        )
        if not changed:
            return self._compared(receipt, self._replay(receipt, current))
        then = self._at_its_time(receipt)
        newest, why = self._now(receipt, current)
        names = ", ".join(changed)
        if then is None:
            message = f"the data that the receipt is about is no longer kept; {names} changed since"
        else:
            was = "is reproduced" if then.sha256 == receipt.result else "is not reproduced"
            message = f"over the data of its time (snapshot {then.snapshot}), the result {was}; {names} changed since"
        return Verification(
            verdict="no_longer_kept" if then is None else "tables_changed",
            message=message if why is None else f"{message}; now it fails: {why}",
            signed=receipt.signature is not None,
            reproduced=None if then is None else then.sha256 == receipt.result,
            changed=changed,
            engine=ENGINE,
            then=then and then.summary,
            now=newest and newest.summary,
            difference=_difference(then, newest) if then and newest else None,
        )

    def _compared(self, receipt: Receipt, replayed: "_Replay") -> Verification:
        is_same, is_same_engine = replayed.sha256 == receipt.result, receipt.engine == ENGINE
        verdict: Verdict = "different"
        message = "over the same data, the result is not the same"
        if is_same:
            verdict = "equal" if is_same_engine else "equal_other_engine"
            message = "the result is the same"
        if not is_same_engine:
            message += f"; it was computed with {receipt.engine}, and now with {ENGINE}"
        if not is_same and receipt.live:
            return self._moved(receipt, replayed)
        if not is_same and receipt.volatile:
            message += "; the statement depends on the time, on chance or on its user"
        elif not is_same:
            message += (
                "; the order or choice of its rows may be undetermined: ORDER BY with ties, LIMIT, first, any_value"
            )
        return Verification(
            verdict=verdict,
            message=message,
            signed=receipt.signature is not None,
            reproduced=is_same,
            changed=(),
            engine=ENGINE,
            now=replayed.summary,
        )

    def _moved(self, receipt: Receipt, replayed: "_Replay") -> Verification:
        """Return that the rows of live tables are other ones now, or were then: they are not kept."""
        return Verification(
            verdict="no_longer_kept",
            message=f"the result is not the same now; {', '.join(receipt.live)} live in their source, which keeps no rows of "
            "that time",
            signed=receipt.signature is not None,
            reproduced=None,
            changed=receipt.live,
            engine=ENGINE,
            now=replayed.summary,
        )

    def _at_its_time(self, receipt: Receipt) -> "_Replay | None":
        """Replay over the receipt's own snapshot; `None` if that, or its data, is gone."""
        if receipt.live:
            return None
        try:
            snapshot = self.snapshots.at(receipt.snapshot)
            for table in receipt.tables:
                if visible_tables.require(snapshot, self.access, self.caller, table.id).hash != table.hash:
                    return None
            return self._replay(receipt, snapshot)
        except (NotFoundError, UnavailableError):
            return None

    def _now(self, receipt: Receipt, current: Snapshot) -> "tuple[_Replay | None, str | None]":
        try:
            return self._replay(receipt, current), None
        except StatementError as error:  # a column is gone, for example
            return None, str(error)

    def _replay(self, receipt: Receipt, snapshot: Snapshot) -> "_Replay":
        registered = tuple(Registered(each.name, each.sql, each.source) for each in receipt.registered)
        query = Query(
            receipt.statement,
            receipt.parameters,
            "json",
            receipt.limit,
            self.seconds,
            reuse=False,
            registered=registered,
        )
        result = self.engine.run(query, Reader(snapshot, self.access, self.caller, self.live), is_gone=self.is_gone)
        with result.file:
            rows = None
            if result.rows <= _ROWS_COMPARED:
                result.file.seek(0)
                rows = tuple(json.loads(result.file.read() + b"]}")["rows"])
        return _Replay(snapshot.number, result.rows, result.hash or "", rows)


@dataclass(frozen=True, slots=True)
class _Replay:
    """A replayed result, with its rows if they are few."""

    snapshot: int
    count: int
    sha256: str
    rows: tuple[Any, ...] | None

    @property
    def summary(self) -> Replayed:
        return Replayed(snapshot=self.snapshot, row_count=self.count, result=self.sha256)


def _difference(then: _Replay, now: _Replay) -> Difference | None:
    if then.rows is None or now.rows is None:
        return None
    before, after = (Counter(json.dumps(row) for row in each.rows or ()) for each in (then, now))
    removed, added = before - after, after - before
    return Difference(
        removed=removed.total(), added=added.total(), removed_rows=_shown(removed), added_rows=_shown(added)
    )


def _shown(rows: Counter[str]) -> tuple[Any, ...]:
    return tuple(json.loads(row) for row in list(rows.elements())[:_ROWS_SHOWN])
