"""Pages as the answers of functions, and what pages get from the API."""

import hashlib
from contextlib import suppress
from dataclasses import replace
from http import HTTPStatus
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, ConfigDict, StringConstraints, ValidationError, model_validator
from pydantic_core import to_json, to_jsonable_python
from werkzeug.wrappers import Request

from analyst.access import Caller, Role
from analyst.context import Context, Process
from analyst.errors import AnalystError, ConflictError, InvalidInputError, NotFoundError
from analyst.http.admission import authorize, viewed_by
from analyst.http.answers import Cookie, Encoded, Page, View
from analyst.pages import Reader, Site, render
from analyst.validation import reason

if TYPE_CHECKING:
    from analyst.http.function import HttpFunction


class Form(BaseModel):
    """The input of a page. Browsers send empty fields as empty texts; here they count as not given."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _without_empty_fields(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        filled = {name: value for name, value in given.items() if value not in ("", [""])}
        return {name: tuple(value) if isinstance(value, list) else value for name, value in filled.items()}


class EditForm(Form):
    """A form that replaces all that its page showed: it sends back the fingerprint of that.

    Without it, somebody who saves a page that was opened before another person's change would undo that change.
    """

    seen: Annotated[str, StringConstraints(max_length=64)] | None = None

    @classmethod
    def fingerprint(cls, shown: Any) -> str:
        """Return the fingerprint of what the form shows: of a model, the fields that the form has too."""
        values = shown.model_dump(include=set(cls.model_fields)) if isinstance(shown, BaseModel) else shown
        return hashlib.sha256(to_json(values)).hexdigest()[:16]

    def require_unchanged(self, now: Any, wanted: Any) -> None:
        """Refuse the form if what it replaces was changed after its page was opened.

        It is accepted if all is as it is `wanted` already (of a model, its fields by name), as after a double click.

        Raises:
            ConflictError: it was changed to something else.
        """
        if self.seen is None or self.seen == self.fingerprint(now):
            return
        there = {name: getattr(now, name) for name in wanted} if isinstance(now, BaseModel) else now
        if to_jsonable_python(there) != to_jsonable_python(wanted):
            raise ConflictError(
                "this was changed after you opened the page, so nothing was saved; open the page again and repeat your change"
            )


def page(
    ctx: Context,
    template: str,
    *,
    title: str,
    status: int = 200,
    cookies: tuple[Cookie, ...] = (),
    form_targets: tuple[str, ...] = (),
    current: str = "",
    **values: Any,
) -> Page:
    """Render a page for the caller of a request; see `analyst.pages.render`."""
    site = Site.of(ctx.settings)
    html = render(
        template,
        site,
        title=title,
        user=reader_of(ctx.caller_or_none, ctx.request, ctx.process),
        current=current,
        now=ctx.now,
        **values,
    )
    return Page(html, status, cookies, form_targets)


def shown(view: View, ctx: Context, *, as_json: bool) -> Page | Encoded[BaseModel]:
    """Return a view as its page, or as its twin in JSON.

    Every template knows `done`, what the change that led to the page did; `problem`, why a change was refused; and `given`,
    the form as it was sent.
    """
    if as_json and view.error is not None:
        raise view.error
    if as_json:
        body = to_json(dict(view.data), inf_nan_mode="null")
        return Encoded(body, hashlib.sha256(body).hexdigest()[:32], cache_control="no-store")
    twin = f"{ctx.request.path if ctx.request.path != '/' else '/index'}.json" if ctx.request.method == "GET" else None
    values = {
        "done": None,
        "problem": None,
        "given": None,
        **view.data,
        **view.extras,
        "twin": twin,
        "query_string": ctx.request.query_string.decode("ascii", "replace"),
    }
    html = render(
        view.template,
        Site.of(ctx.settings),
        title=view.title,
        user=reader_of(ctx.caller_or_none, ctx.request, ctx.process),
        current=view.current,
        **{"now": ctx.now, **values},
    )
    return Page(html, view.status, view.cookies)


def reason_of(error: AnalystError) -> str:
    """Return why a request was refused or can be repeated, for the page with its form.

    Raises:
        AnalystError: the server failed.
    """
    if error.status >= HTTPStatus.INTERNAL_SERVER_ERROR and not error.retryable:
        raise error
    return str(error)


def refused(view: View, error: AnalystError, **extras: Any) -> View:
    """Return a page with the reason why a change was refused; failures of the server are raised."""
    return replace(view, extras={**view.extras, "problem": reason_of(error), **extras}, status=error.status)


def items_of(text: str, separator: str | None = ",") -> list[str]:
    """Return the items of a field with several, which are separated by commas, line ends or spaces (`None`)."""
    return [item for each in text.split(separator) if (item := each.strip())]


def reader_of(caller: Caller | None, request: Request, process: Process) -> Reader | None:
    """Return for whom a page is made; `None` for somebody who has not signed in."""
    if caller is None or caller.email is None:
        return None
    roles = (Role.ANALYST, Role.KM_ADMIN, Role.ADMIN)
    can = frozenset(str(role) for role in roles if caller.includes(role))
    return Reader(caller.email, can, viewed_by(request, process))


def ask(ctx: Context, function: "HttpFunction", **given: Any) -> Any:
    """Call a function of the API for the caller of a page, with the checks of its own declaration.

    A page has no rules of its own: it shows what the API returns to the same caller, and changes what it changes. A change
    is audited as that of the API, also if the declaration of the form does not say so.

    Raises:
        ForbiddenError: the caller may not call the function.
        InvalidInputError: it does not take what was given.
        AnalystError: of the function.
    """
    spec = function.function
    authorize(spec, ctx.caller_or_none)
    if ctx.request.method == "POST" and spec.method != "GET" and spec.audit_success:
        ctx.note.action = ctx.note.action or spec.audit
    if spec.input is None:
        return spec.call(ctx)
    return spec.call(checked(spec.input, given), ctx)


def found(ctx: Context, function: "HttpFunction", **given: Any) -> Any:
    """Call a function of the API as `ask` does; `None` if what it is asked for does not exist."""
    with suppress(NotFoundError):
        return ask(ctx, function, **given)
    return None


def checked(model: type[BaseModel], given: dict[str, Any]) -> BaseModel:
    """Validate the input of a function as if a request had sent it.

    Raises:
        InvalidInputError: it does not match.
    """
    try:
        return model.model_validate(given)
    except ValidationError as error:
        parts = [(".".join(map(str, each["loc"])), reason(each)) for each in error.errors(include_url=False)[:5]]
        raise InvalidInputError("; ".join(f"{place}: {why}" if place else why for place, why in parts)) from None
