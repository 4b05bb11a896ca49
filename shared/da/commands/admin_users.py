"""`da admin users` and `da admin groups`: users, their roles, and groups of users that share grants."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import typer

from da.commands.tokens import print_note
from da.errors import DaError
from da.help import Commands
from da.options import Email, Json, Yes, confirm
from da.output import print_json, print_table, respond, say, say_text
from da.server import Server, segment
from da.session import WHO, doing
from da.text import count_text, local_day, local_time

app = Commands("Manage users, invitations and roles.")
groups_app = Commands("Manage groups of users that share grants.")

GroupName = Annotated[str, typer.Argument(metavar="GROUP", help="Name of the group.")]
Role = Literal["viewer", "analyst", "km_admin", "admin"]
Mail = Annotated[bool, typer.Option("--mail/--no-mail", help="Email the link, or print it.")]


@app.command("list")
def list_users(json: Json = False) -> None:
    """List users.

    Examples:
      da admin users list
    """
    with doing("list the users") as server:
        users = server.get("/api/users")["users"]
    if json:
        print_json(users)
        return
    rows = [
        (user["email"], user.get("name"), user["role"], "" if user["active"] else "inactive", ", ".join(user["groups"]))
        for user in users
    ]
    empty = "There are no users; to add one, run: da admin users add EMAIL"
    print_table(("email", "name", "role", "status", "groups"), rows, optional=("name",), empty=empty)


@app.command("add")
def add_user(
    email: Email,
    *,
    role: Annotated[Role, typer.Option(help="Role of the user.")] = "analyst",
    name: Annotated[str | None, typer.Option(help="Name of the user.")] = None,
    invite: Annotated[bool, typer.Option("--invite", help="Send the user a link to set a password.")] = False,
    token: Annotated[
        bool | None, typer.Option(help="Create a token for the user to log in with; default unless --invite is given.")
    ] = None,
    days: Annotated[int, typer.Option(min=1, max=3650, help="Days until the token expires.")] = 90,
    json: Json = False,
) -> None:
    """Add a user, with a token or an invitation.

    The token is shown only once; hand it to the user.

    Examples:
      da admin users add ann@example.com --invite
      da admin users add bob@example.com --role viewer
    """
    made = invitation = None
    with doing(f"add the user '{email}'") as server:
        user = server.post("/api/users", {"email": email, "role": role, **({"name": name} if name else {})})
        if token or (token is None and not invite):
            made = server.post("/auth/tokens", {"name": "da", "user": user["email"], "expires_in_days": days})
        if invite:
            invitation = _invite(server, user["id"], mail=True)
        address = server.address
    if json:
        print_json({**user, "token": made, "invitation": invitation})
        return
    say(f"Added {user['email']} ({user['role']}).")
    if invitation:
        _print_invitation(invitation)
    if made:
        say_text(
            f"\nTheir token (expires {local_day(made['expires_at'])}). It is not shown again:\n\n  {made['token']}\n"
        )
        print_note(made)
        say_text(f"To log in, they run this and paste the token:\n\n  da login --server {address}")
        say_text(f"\nHow to install da: {address}/cli")


@app.command("invite")
def invite_user(email: Email, mail: Mail = True, json: Json = False) -> None:
    """Send a user a link to set a password.

    The link works once and expires after 24 hours. If the server can't send email, the link is printed for you to hand
    over.

    Examples:
      da admin users invite ann@example.com
      da admin users invite ann@example.com --no-mail
    """
    with doing(f"invite the user '{email}'", missing=WHO) as server:
        invitation = _invite(server, find_user(server, email)["id"], mail=mail)
    if json:
        print_json(invitation)
    else:
        _print_invitation(invitation)


@app.command("set-role")
def set_role(
    email: Email, role: Annotated[Role, typer.Argument(metavar="ROLE", help="New role.")], json: Json = False
) -> None:
    """Set the role of a user: viewer, analyst, km_admin or admin.

    Examples:
      da admin users set-role ann@example.com admin
    """
    user = _changed(email, "change the role of", {"role": role})
    respond(user, f"{user['email']} now has the role {user['role']}.", json=json)


@app.command("rename")
def rename(
    email: Email,
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="New name; removes the name if omitted.")] = None,
    json: Json = False,
) -> None:
    """Change the name of a user.

    Examples:
      da admin users rename ann@example.com "Ann Lee"
    """
    user = _changed(email, "rename", {"name": name})
    respond(
        user,
        f"Renamed {user['email']} to {user['name']}." if user["name"] else f"Removed the name of {user['email']}.",
        json=json,
    )


@app.command("deactivate")
def deactivate(email: Email, json: Json = False) -> None:
    """Deactivate a user: all sessions and tokens end immediately.

    Examples:
      da admin users deactivate ann@example.com
    """
    user = _changed(email, "deactivate", {"active": False})
    respond(user, f"Deactivated {user['email']}. To undo this, run: da admin users activate {user['email']}", json=json)


@app.command("activate")
def activate(email: Email, json: Json = False) -> None:
    """Reactivate a user, who must sign in again.

    Examples:
      da admin users activate ann@example.com
    """
    user = _changed(email, "activate", {"active": True})
    respond(user, f"Activated {user['email']}; they can sign in again.", json=json)


@app.command("remove")
def remove(email: Email, yes: Yes = False, json: Json = False) -> None:
    """Delete a user with all grants, memberships, tokens and requests.

    Examples:
      da admin users remove ann@example.com
    """
    with doing(f"remove the user '{email}'", missing=WHO) as server:
        user = find_user(server, email)
        confirm(f"Remove {user['email']} with all grants, memberships, tokens and requests?", yes=yes)
        server.delete(f"/api/users/{segment(user['id'])}")
    respond(user, f"Removed {user['email']}.", json=json)


@app.command("sign-out")
def sign_out(
    email: Email,
    tokens: Annotated[bool, typer.Option("--tokens", help="Also revoke all access tokens.")] = False,
    json: Json = False,
) -> None:
    """End all sessions of a user, who can sign in again.

    Examples:
      da admin users sign-out ann@example.com --tokens
    """
    with doing(f"sign out '{email}'", missing=WHO) as server:
        user = find_user(server, email)
        server.have_done(f"/api/users/{segment(user['id'])}/sign-out", {"tokens": tokens})
    what = "sessions and tokens" if tokens else "sessions"
    respond(user, f"Ended all {what} of {user['email']}.", json=json)


@app.command("release")
def release(email: Email, yes: Yes = False, json: Json = False) -> None:
    """Unlink a user's email address from its sign-in account.

    With Google or another OpenID provider, only the account that first signed in with an address can use it. This
    removes that link and ends all sessions, so that the next account to sign in with the address is accepted.

    Examples:
      da admin users release ann@example.com
    """
    with doing(f"release the user '{email}'", missing=WHO) as server:
        user = find_user(server, email)
        confirm(f"Accept the next account that signs in with {user['email']} as this user?", yes=yes)
        server.delete(f"/api/users/{segment(user['id'])}/identities")
    respond(user, f"Released {user['email']}: the next account to sign in with this address is accepted.", json=json)


def _changed(email: str, verb: str, change: Mapping[str, Any]) -> dict[str, Any]:
    with doing(f"{verb} '{email}'", missing=WHO) as server:
        return server.put(f"/api/users/{segment(find_user(server, email)['id'])}", change)


def _invite(server: Server, user_id: str, *, mail: bool) -> dict[str, Any]:
    return server.post(f"/api/users/{segment(user_id)}/invite", {"mail": mail})


def _print_invitation(invitation: Mapping[str, Any]) -> None:
    email, url, ends = invitation["email"], invitation["url"], invitation["expires_at"]
    if invitation["mailed"]:
        say(f"Sent an invitation to {email}.")
    elif ends:
        say_text(f"Hand this link to {email}. It works once and expires at {local_time(ends)}:\n\n  {url}")
        if code := invitation.get("code"):
            say_text(f"\nThe page asks for this code: {code}")
    else:
        say_text(f"{email} can sign in here:\n\n  {url}")


@groups_app.command("list")
def list_groups(json: Json = False) -> None:
    """List groups and their members.

    Examples:
      da admin groups list
    """
    with doing("list the groups") as server:
        groups = server.get("/api/admin/groups")["groups"]
    if json:
        print_json(groups)
        return
    rows = [
        (group["name"], len(group["members"]), ", ".join(it["email"] for it in group["members"])) for group in groups
    ]
    empty = "There are no groups; to add one, run: da admin groups add NAME"
    print_table(("group", "users", "members"), rows, right=("users",), empty=empty)


@groups_app.command("add")
def add_group(name: GroupName, json: Json = False) -> None:
    """Create a group.

    Examples:
      da admin groups add sales
    """
    with doing(f"add the group '{name}'") as server:
        made = server.post("/api/admin/groups", {"name": name})
    respond(made, f"Added the group {name}. To add users to it, run: da admin groups join", json=json)


@groups_app.command("remove")
def remove_group(name: GroupName, yes: Yes = False, json: Json = False) -> None:
    """Delete a group and its grants.

    Examples:
      da admin groups remove sales
    """
    with doing(f"remove the group '{name}'") as server:
        group = find_group(server, name)
        confirm(f"Remove the group {name} ({count_text(len(group['members']), 'user')}) and its grants?", yes=yes)
        server.delete(f"/api/admin/groups/{segment(group['id'])}")
    respond(group, f"Removed the group {name}.", json=json)


@groups_app.command("join")
def join(name: GroupName, email: Email, json: Json = False) -> None:
    """Add a user to a group.

    Examples:
      da admin groups join sales ann@example.com
    """
    _change_members(name, email, "PUT", json=json)


@groups_app.command("leave")
def leave(name: GroupName, email: Email, json: Json = False) -> None:
    """Remove a user from a group.

    Examples:
      da admin groups leave sales ann@example.com
    """
    _change_members(name, email, "DELETE", json=json)


def _change_members(name: str, email: str, method: str, *, json: bool) -> None:
    is_in = method == "PUT"
    with doing(f"add '{email}' to '{name}'" if is_in else f"remove '{email}' from '{name}'") as server:
        group, user = find_group(server, name), find_user(server, email)
        server.have_done(f"/api/admin/groups/{segment(group['id'])}/members/{segment(user['id'])}", method=method)
        if json:
            print_json(find_group(server, name))
            return
    say(f"{user['email']} is {'now' if is_in else 'no longer'} a member of {name}.")


def find_user(server: Server, email: str) -> dict[str, Any]:
    """Find a user by email.

    Raises:
        DaError: there is no such user.
    """
    found: list[dict[str, Any]] = server.get("/api/users", email=email)["users"]
    if not found:
        raise DaError(f"there is no user '{email}'; {WHO}")
    return found[0]


def find_group(server: Server, name: str) -> dict[str, Any]:
    """Find a group by name.

    Raises:
        DaError: there is no such group.
    """
    found = [group for group in server.get("/api/admin/groups")["groups"] if name in (group["name"], group["id"])]
    if not found:
        raise DaError(f"there is no group '{name}'; to see all groups, run: da admin groups list")
    group: dict[str, Any] = found[0]
    return group
