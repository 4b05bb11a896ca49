"""People and groups, and viewing pages as another person."""

from typing import Annotated, Any, Final, Literal

from pydantic import StringConstraints

from analyst.access import Role
from analyst.auth.last_use import with_last_use
from analyst.context import Context
from analyst.errors import InvalidInputError, NotFoundError
from analyst.http import Redirect, View, function
from analyst.http.admission import own_eyes, view_as
from analyst.http.pages import EditForm, Form, ask
from analyst.state import tokens
from analyst.state.fields import Email, Id, Line
from analyst.state.users import User
from functions.api import access, groups, permissions, users

_DONE: Final = {
    "added": "The person was added. Invite them, or tell them to sign in.",
    "changed": "The changes were saved.",
    "signed_out": "All their sessions have ended.",
    "released": "The next account that signs in with this address will be linked to this person.",
}
_EXTRAS: Final = {"section": "/admin/people", "roles": tuple(Role)}
_Short = Annotated[str, StringConstraints(max_length=500)]


class PeopleQuery(Form):
    """A search in the addresses and names of people."""

    q: _Short = ""


class PersonForm(Form):
    """A new person."""

    email: Email
    name: Line | None = None
    role: Role = Role.ANALYST


class PersonPath(Form):
    """The id of a person."""

    id: Id


class PersonQuery(PersonPath):
    """A person, and the change that led to the page."""

    done: Annotated[str, StringConstraints(max_length=20)] | None = None


class PersonChangeForm(PersonPath, EditForm):
    """The name, role and state of a person."""

    name: Line | None = None
    role: Role
    active: bool = False


class SignOutForm(PersonPath):
    """Whether access tokens end too."""

    tokens: bool = False


class DeleteForm(PersonPath):
    """A person to delete; their address is typed again."""

    confirm: _Short


class GroupForm(Form):
    """A new group."""

    name: Line


class GroupPath(Form):
    """The id of a group."""

    id: Id


class MemberForm(GroupPath):
    """A person to add to a group, or to remove from it."""

    user: Email
    what: Literal["add", "remove"] = "add"


@function("GET", "/admin/people", allow=Role.ADMIN)
def people_page(ctx: Context) -> View:
    """Show all people and groups."""
    return _people(ctx, "")


@function("POST", "/admin/people/search", allow=Role.ADMIN)
def search_people_form(query: PeopleQuery, ctx: Context) -> View:
    """Show the people whose address or name contains a string. URLs contain no addresses, so it is a form."""
    return _people(ctx, query.q)


def _people(ctx: Context, q: str) -> View:
    everybody = ask(ctx, users.list_users).users
    text = q.strip().lower()
    found = [each for each in everybody if text in each.email or text in (each.name or "").lower()]
    data = {"users": found[:500], "count": len(found), "groups": ask(ctx, groups.list_groups).groups}
    return View("admin_people.html", "People", data, {**_EXTRAS, "q": q}, "/admin")


@function("POST", "/admin/people", allow=Role.ADMIN)
def add_person_form(form: PersonForm, ctx: Context) -> View | Redirect:
    """Add a person, and go to their page."""
    made = ask(ctx, users.create_user, email=form.email, name=form.name, role=form.role)
    return Redirect(f"/admin/people/{made.id}?done=added", 303)


@function("GET", "/admin/people/{id}", allow=Role.ADMIN)
def person_page(query: PersonQuery, ctx: Context) -> View:
    """Show a person: role, groups, tokens, and what they can read, with the reasons."""
    return _person(ctx, query.id, done=_DONE.get(query.done or ""))


@function("POST", "/admin/people/{id}", allow=Role.ADMIN)
def change_person_form(form: PersonChangeForm, ctx: Context) -> View | Redirect:
    """Change the name, the role or the state of a person."""
    changed = {"name": form.name, "role": form.role, "active": form.active}
    form.require_unchanged(_user(ctx, form.id), changed)
    ask(ctx, users.update_user, id=form.id, **changed)
    return Redirect(f"/admin/people/{form.id}?done=changed", 303)


@function("POST", "/admin/people/{id}/invite", allow=Role.ADMIN)
def invite_person_form(form: PersonPath, ctx: Context) -> View:
    """Invite a person: mail them a link, or show it once."""
    return _person(ctx, form.id, invitation=ask(ctx, users.invite_user, id=form.id))


@function("POST", "/admin/people/{id}/sign-out", allow=Role.ADMIN)
def sign_person_out_form(form: SignOutForm, ctx: Context) -> View | Redirect:
    """End all sessions of a person."""
    ask(ctx, users.sign_out, id=form.id, tokens=form.tokens)
    return Redirect(f"/admin/people/{form.id}?done=signed_out", 303)


@function("POST", "/admin/people/{id}/release", allow=Role.ADMIN)
def release_person_form(form: PersonPath, ctx: Context) -> View | Redirect:
    """Unlink a person from the accounts with which they signed in."""
    ask(ctx, users.release_identities, id=form.id)
    return Redirect(f"/admin/people/{form.id}?done=released", 303)


@function("POST", "/admin/people/{id}/delete", allow=Role.ADMIN)
def delete_person_form(form: DeleteForm, ctx: Context) -> View | Redirect:
    """Delete a person with their grants, tokens and requests."""
    user = _user(ctx, form.id)
    if form.confirm.strip().lower() != user.email:
        raise InvalidInputError(f"type the address of the person, {user.email!r}, to delete them")
    ask(ctx, users.delete_user, id=form.id)
    return Redirect("/admin/people", 303)


@function("POST", "/admin/groups", allow=Role.ADMIN)
def add_group_form(form: GroupForm, ctx: Context) -> View | Redirect:
    """Create a group."""
    ask(ctx, groups.create_group, name=form.name)
    return Redirect("/admin/people#groups", 303)


@function("POST", "/admin/groups/{id}/members", allow=Role.ADMIN)
def change_member_form(form: MemberForm, ctx: Context) -> View | Redirect:
    """Add a person to a group, or remove them."""
    found = ask(ctx, users.list_users, email=form.user).users
    if not found:
        raise NotFoundError(f"there is no user {form.user!r}; add them first")
    change = groups.add_member if form.what == "add" else groups.remove_member
    ask(ctx, change, id=form.id, user_id=found[0].id)
    return Redirect("/admin/people#groups", 303)


@function("POST", "/admin/groups/{id}/delete", allow=Role.ADMIN)
def delete_group_form(form: GroupPath, ctx: Context) -> View | Redirect:
    """Delete a group and its grants."""
    ask(ctx, groups.delete_group, id=form.id)
    return Redirect("/admin/people#groups", 303)


@function("POST", "/admin/people/{id}/view-as", allow=Role.ADMIN, audit="view_as.begin")
def begin_view_as(form: PersonPath, ctx: Context) -> View | Redirect:
    """View pages as another person, for an hour. Nothing can be changed meanwhile, and each view is audited."""
    ctx.audited(f"user:{form.id}")
    return Redirect("/", 303, (view_as(ctx.caller, _user(ctx, form.id), secure=ctx.is_secure),))


@function("POST", "/admin/view-as/end", allow=Role.ADMIN, audit="view_as.end", own_eyes=True)
def end_view_as(ctx: Context) -> View | Redirect:
    """Stop viewing pages as another person."""
    return Redirect("/admin/people", 303, (own_eyes(secure=ctx.is_secure),))


def _person(ctx: Context, id_: str, **extras: Any) -> View:
    user = _user(ctx, id_)
    report = ask(ctx, access.explain_access, user=id_, limit=500)
    with ctx.state.read() as db:
        owned = tokens.list_tokens(db, ctx.caller, user.email)
    data = {
        "user_shown": user,
        "grants": ask(ctx, permissions.list_permissions, user=id_).permissions,
        "access": report,
        "tokens": with_last_use(ctx.store, owned),
    }
    shown = {**_EXTRAS, "seen": PersonChangeForm.fingerprint(user), "invitation": None, **extras}
    return View("admin_person.html", user.email, data, shown, "/admin")


def _user(ctx: Context, id_: str) -> User:
    found = [each for each in ask(ctx, users.list_users).users if each.id == id_]
    if not found:
        raise NotFoundError("there is no user with this id")
    user: User = found[0]
    return user
