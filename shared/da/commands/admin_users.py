"""`da admin users`: who may come in, and what they are."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import typer

from da.admin_errors import WHO, confirm, doing, find_user
from da.commands.auth_tokens import say_note
from da.output import print_json, print_table, say
from da.server import Server, segment

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None, help="Users: who may come in.")

Role = Literal["viewer", "analyst", "km_admin", "admin"]
Email = Annotated[str, typer.Argument(metavar="EMAIL", help="The user's e-mail.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
Mail = Annotated[bool, typer.Option("--mail/--no-mail", help="Have the server mail it, or print the link.")]


@app.command("list")
def list_users(json: Json = False) -> None:
    """List the users."""
    with doing("list the users") as server:
        users = server.get("/api/users")["users"]
    if json:
        print_json(users)
        return
    rows = [
        (user["email"], user.get("name"), user["role"], "" if user["active"] else "inactive", ", ".join(user["groups"]))
        for user in users
    ]
    print_table(("email", "name", "role", "state", "groups"), rows)


@app.command("add")
def add_user(
    email: Annotated[str, typer.Argument(metavar="EMAIL")],
    *,
    role: Annotated[Role, typer.Option(help="What they may do.")] = "analyst",
    name: Annotated[str | None, typer.Option(help="Their name.")] = None,
    invite: Annotated[bool, typer.Option("--invite", help="Send them a link to choose a password.")] = False,
    token: Annotated[
        bool | None, typer.Option(help="Make a token for them to log in with; that is so unless they are invited.")
    ] = None,
    days: Annotated[int, typer.Option(min=1, max=3650, help="Days until the token expires.")] = 90,
    json: Json = False,
) -> None:
    """Add a user, and make a token for them or invite them.

    Hand the token to them; it is shown only this once.
    """
    made = invitation = None
    with doing(f"add {email}") as server:
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
        say(f"\nTheir token, shown only now; it ends on {made['expires_at'][:10]}:\n\n  {made['token']}\n")
        say_note(made)
        say(f"They log in with this, and paste the token when asked:\n\n  da login --server {address}")


@app.command("invite")
def invite_user(email: Email, mail: Mail = True, json: Json = False) -> None:
    """Give a user a link under which they choose a password.

    It works once, for 24 hours. The server mails it; if it can't, the link is printed for you to hand over.
    """
    with doing(f"invite {email}", missing=WHO) as server:
        invitation = _invite(server, find_user(server, email)["id"], mail=mail)
    if json:
        print_json(invitation)
    else:
        _print_invitation(invitation)


@app.command("set-role")
def set_role(email: Email, role: Annotated[Role, typer.Argument(metavar="ROLE")], json: Json = False) -> None:
    """Give a user a role: viewer, analyst, km_admin or admin."""
    user = _changed(email, "change the role of", {"role": role})
    print_json(user) if json else say(f"{user['email']} is {user['role']} from now on.")


@app.command("rename")
def rename(
    email: Email,
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="Their name; none when left out.")] = None,
    json: Json = False,
) -> None:
    """Change the name of a user."""
    user = _changed(email, "rename", {"name": name})
    print_json(user) if json else say(f"{user['email']} is called {user['name'] or 'nothing in particular'}.")


@app.command("deactivate")
def deactivate(email: Email, json: Json = False) -> None:
    """Shut a user out at once: all sessions and tokens end."""
    user = _changed(email, "deactivate", {"active": False})
    print_json(user) if json else say(f"{user['email']} is out; da admin users activate lets them in again.")


@app.command("activate")
def activate(email: Email, json: Json = False) -> None:
    """Let a user in again, who needs to sign in anew."""
    user = _changed(email, "activate", {"active": True})
    print_json(user) if json else say(f"{user['email']} may sign in again.")


@app.command("remove")
def remove(email: Email, yes: Yes = False, json: Json = False) -> None:
    """Remove a user with all grants, tokens and requests."""
    with doing(f"remove {email}", missing=WHO) as server:
        user = find_user(server, email)
        confirm(f"Remove {user['email']} with all grants, memberships, tokens and requests?", yes=yes)
        server.delete(f"/api/users/{segment(user['id'])}")
    print_json(user) if json else say(f"Removed {user['email']}.")


@app.command("sign-out")
def sign_out(
    email: Email,
    tokens: Annotated[bool, typer.Option("--tokens", help="Revoke all access tokens as well.")] = False,
    json: Json = False,
) -> None:
    """End all sessions of a user, who may sign in again."""
    with doing(f"sign {email} out", missing=WHO) as server:
        user = find_user(server, email)
        server.have_done(f"/api/users/{segment(user['id'])}/sign-out", {"tokens": tokens})
    what = "sessions and tokens" if tokens else "sessions"
    print_json(user) if json else say(f"All {what} of {user['email']} have ended.")


@app.command("release")
def release(email: Email, yes: Yes = False, json: Json = False) -> None:
    """Let somebody else sign in with a user's e-mail address.

    By Google, or another OpenID provider, only the account that first signed in with an address is let in. This forgets
    which one that was, and ends all sessions.
    """
    with doing(f"release {email}", missing=WHO) as server:
        user = find_user(server, email)
        confirm(f"Take whoever signs in next with {user['email']} for this user?", yes=yes)
        server.delete(f"/api/users/{segment(user['id'])}/identities")
    print_json(user) if json else say(f"Released {user['email']}: the next account to sign in is the user's.")


def _changed(email: str, verb: str, change: Mapping[str, Any]) -> dict[str, Any]:
    with doing(f"{verb} {email}", missing=WHO) as server:
        return server.put(f"/api/users/{segment(find_user(server, email)['id'])}", change)


def _invite(server: Server, user_id: str, *, mail: bool) -> dict[str, Any]:
    return server.post(f"/api/users/{segment(user_id)}/invite", {"mail": mail})


def _print_invitation(invitation: Mapping[str, Any]) -> None:
    email, url, ends = invitation["email"], invitation["url"], invitation["expires_at"]
    if invitation["mailed"]:
        say(f"A mail to {email} is on its way.")
    elif ends:
        say(f"Hand this link to {email}; it works once, until {ends[:16].replace('T', ' ')} UTC:\n\n  {url}")
        if code := invitation.get("code"):
            say(f"\nIts page asks for this code: {code}")
    else:
        say(f"{email} signs in here:\n\n  {url}")
