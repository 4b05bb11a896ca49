"""Functions that return their input and their caller."""

from datetime import date
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from analyst.access import Role
from analyst.context import Context
from analyst.http import Allow, HttpFunction, function


class Said(BaseModel):
    text: str


class Who(BaseModel):
    model_config = ConfigDict(extra="forbid")
    name: str


@function("GET", "/hello/{name}", allow=Allow.ANYBODY)
def hello(who: Who, _ctx: Context) -> Said:
    return Said(text=f"hello {who.name}")


def allowing(allow: Role | Allow) -> HttpFunction:
    @function("GET", "/who", allow=allow)
    def whoami(ctx: Context) -> Said:
        return Said(text="service" if ctx.caller.is_service else str(ctx.caller.email))

    return whoami


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Query(Strict):
    q: Annotated[str, Field(max_length=5)] | None = None
    limit: Annotated[int, Field(ge=1, le=100)] = 10
    ratio: float | None = None
    all: bool = False
    tags: tuple[str, ...] = ()
    ids: frozenset[int] = frozenset()
    day: date | None = None
    kind: Literal["a", "b"] = "a"
    dashed: str = Field("", alias="X-Dashed")


class Change(Strict):
    id: Annotated[int, Field(ge=0)]
    name: str
    secret: Annotated[str, Field(min_length=8)] = "long enough"
    sizes: dict[str, list[int] | None] = {}
    note: str | None = None

    @field_validator("name")
    @classmethod
    def _known(cls, value: str) -> str:
        if value == "hunter2":
            raise ValueError("is not a name")
        return value


class Optional(Strict):
    source: str | None = None


class Echo(BaseModel):
    got: dict[str, Any]


@function("GET", "/search", allow=Allow.ANYBODY)
def search(query: Query, _ctx: Context) -> Echo:
    return Echo(got=query.model_dump(mode="json", exclude_defaults=True, by_alias=True))


@function("PUT", "/things/{id}", allow=Allow.ANYBODY, body_limit=1000)
def change(thing: Change, _ctx: Context) -> Echo:
    return Echo(got=thing.model_dump(mode="json", exclude_defaults=True))


@function("POST", "/go", allow=Allow.ANYBODY)
def go(request: Optional, _ctx: Context) -> Echo:
    return Echo(got=request.model_dump(exclude_defaults=True))


@function("POST", "/raw", allow=Allow.ANYBODY, body_limit=100)
def raw(ctx: Context) -> Echo:
    return Echo(got={"size": len(ctx.request.get_data())})
