"""`da admin groups`: groups of users that share grants."""

from typing import Annotated

import typer

from da.admin_errors import confirm, doing, find_group, find_user
from da.output import print_json, print_table, say
from da.server import segment
from da.text import count_text

app = typer.Typer(
    no_args_is_help=True, add_completion=False, rich_markup_mode=None, help="Manage groups of users that share grants."
)

Name = Annotated[str, typer.Argument(metavar="GROUP", help="Name of the group.")]
Email = Annotated[str, typer.Argument(metavar="EMAIL", help="Email of the user.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")]


@app.command("list")
def list_groups(json: Json = False) -> None:
    """List groups and their members."""
    with doing("list the groups") as server:
        groups = server.get("/api/admin/groups")["groups"]
    if json:
        print_json(groups)
        return
    rows = [
        (group["name"], len(group["members"]), ", ".join(it["email"] for it in group["members"])) for group in groups
    ]
    print_table(("group", "users", "members"), rows, right=("users",))


@app.command("add")
def add_group(name: Name, json: Json = False) -> None:
    """Create a group."""
    with doing(f"add the group '{name}'") as server:
        made = server.post("/api/admin/groups", {"name": name})
    print_json(made) if json else say(f"Added the group {name}. To add users to it, run: da admin groups join")


@app.command("remove")
def remove_group(name: Name, yes: Yes = False, json: Json = False) -> None:
    """Delete a group and its grants."""
    with doing(f"remove the group '{name}'") as server:
        group = find_group(server, name)
        confirm(f"Remove the group {name} ({count_text(len(group['members']), 'user')}) and its grants?", yes=yes)
        server.delete(f"/api/admin/groups/{segment(group['id'])}")
    print_json(group) if json else say(f"Removed the group {name}.")


@app.command("join")
def join(name: Name, email: Email, json: Json = False) -> None:
    """Add a user to a group."""
    _change_members(name, email, "PUT", json=json)


@app.command("leave")
def leave(name: Name, email: Email, json: Json = False) -> None:
    """Remove a user from a group."""
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
