"""`da admin users`: users and their roles."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import typer

from da.admin_errors import WHO, confirm, doing, find_user
from da.commands.auth_tokens import say_note
from da.output import print_json, print_table, say
from da.server import Server, segment

app = typer.Typer(
    no_args_is_help=True, add_completion=False, rich_markup_mode=None, help="Manage users, invitations and roles."
)

Role = Literal["viewer", "analyst", "km_admin", "admin"]
Email = Annotated[str, typer.Argument(metavar="EMAIL", help="Email of the user.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")]
Mail = Annotated[bool, typer.Option("--mail/--no-mail", help="Email the link, or print it.")]


@app.command("list")
def list_users(json: Json = False) -> None:
    """List users."""
    with doing("list the users") as server:
        users = server.get("/api/users")["users"]
    if json:
        print_json(users)
        return
    rows = [
        (user["email"], user.get("name"), user["role"], "" if user["active"] else "inactive", ", ".join(user["groups"]))
        for user in users
    ]
    print_table(("email", "name", "role", "status", "groups"), rows)


@app.command("add")
def add_user(
    email: Annotated[str, typer.Argument(metavar="EMAIL", help="Email of the user.")],
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
        say(f"\nTheir token (expires {made['expires_at'][:10]}). It is not shown again:\n\n  {made['token']}\n")
        say_note(made)
        say(f"To log in, they run this and paste the token:\n\n  da login --server {address}")


@app.command("invite")
def invite_user(email: Email, mail: Mail = True, json: Json = False) -> None:
    """Send a user a link to set a password.

    The link works once and expires after 24 hours. If the server can't send email, the link is printed for you to hand
    over.
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
    """Set the role of a user: viewer, analyst, km_admin or admin."""
    user = _changed(email, "change the role of", {"role": role})
    print_json(user) if json else say(f"{user['email']} now has the role {user['role']}.")


@app.command("rename")
def rename(
    email: Email,
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="New name; removes the name if omitted.")] = None,
    json: Json = False,
) -> None:
    """Change the name of a user."""
    user = _changed(email, "rename", {"name": name})
    print_json(user) if json else say(
        f"Renamed {user['email']} to {user['name']}." if user["name"] else f"Removed the name of {user['email']}."
    )


@app.command("deactivate")
def deactivate(email: Email, json: Json = False) -> None:
    """Deactivate a user: all sessions and tokens end immediately."""
    user = _changed(email, "deactivate", {"active": False})
    print_json(user) if json else say(
        f"Deactivated {user['email']}. To undo this, run: da admin users activate {user['email']}"
    )


@app.command("activate")
def activate(email: Email, json: Json = False) -> None:
    """Reactivate a user, who must sign in again."""
    user = _changed(email, "activate", {"active": True})
    print_json(user) if json else say(f"Activated {user['email']}; they can sign in again.")


@app.command("remove")
def remove(email: Email, yes: Yes = False, json: Json = False) -> None:
    """Delete a user with all grants, memberships, tokens and requests."""
    with doing(f"remove the user '{email}'", missing=WHO) as server:
        user = find_user(server, email)
        confirm(f"Remove {user['email']} with all grants, memberships, tokens and requests?", yes=yes)
        server.delete(f"/api/users/{segment(user['id'])}")
    print_json(user) if json else say(f"Removed {user['email']}.")


@app.command("sign-out")
def sign_out(
    email: Email,
    tokens: Annotated[bool, typer.Option("--tokens", help="Also revoke all access tokens.")] = False,
    json: Json = False,
) -> None:
    """End all sessions of a user, who can sign in again."""
    with doing(f"sign out '{email}'", missing=WHO) as server:
        user = find_user(server, email)
        server.have_done(f"/api/users/{segment(user['id'])}/sign-out", {"tokens": tokens})
    what = "sessions and tokens" if tokens else "sessions"
    print_json(user) if json else say(f"Ended all {what} of {user['email']}.")


@app.command("release")
def release(email: Email, yes: Yes = False, json: Json = False) -> None:
    """Unlink a user's email address from its sign-in account.

    With Google or another OpenID provider, only the account that first signed in with an address can use it. This
    removes that link and ends all sessions, so that the next account to sign in with the address is accepted.
    """
    with doing(f"release the user '{email}'", missing=WHO) as server:
        user = find_user(server, email)
        confirm(f"Accept the next account that signs in with {user['email']} as this user?", yes=yes)
        server.delete(f"/api/users/{segment(user['id'])}/identities")
    print_json(user) if json else say(
        f"Released {user['email']}: the next account to sign in with this address is accepted."
    )


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
        say(f"Hand this link to {email}. It works once and expires at {ends[:16].replace('T', ' ')} UTC:\n\n  {url}")
        if code := invitation.get("code"):
            say(f"\nThe page asks for this code: {code}")
    else:
        say(f"{email} can sign in here:\n\n  {url}")
