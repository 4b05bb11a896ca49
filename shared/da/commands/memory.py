"""`da memory` and `da admin memory`: what the company knows of its data, proposed by people and decided on by some."""

from typing import Annotated, Any, Literal

import typer

from da.errors import UsageError
from da.help import Commands
from da.options import Json, Yes, confirm
from da.output import print_json, print_table, respond, say, say_text
from da.server import Server, segment
from da.session import doing
from da.text import local_time

app = Commands("Read the company's memory, propose items and vote for them.")
admin_app = Commands("Decide on items of the company's memory (knowledge managers).")

Category = Literal[
    "data_analysis", "api_integration", "debugging", "performance", "workflow", "infrastructure", "business_logic"
]
Status = Literal["pending", "approved", "mandatory", "rejected", "revoked", "expired"]
Action = Literal["approve", "mandate", "reject", "revoke"]

Search = Annotated[str | None, typer.Argument(metavar="[TEXT]", help="Text in the title, the content or a tag.")]
ByStatus = Annotated[Status | None, typer.Option("--status", help="Only items in this state.")]
ByCategory = Annotated[Category | None, typer.Option("--category", help="Only items of this category.")]
Mine = Annotated[bool, typer.Option("--rules", help="Only items that apply to you.")]
Limit = Annotated[int, typer.Option(min=1, max=5000, help="Maximum number of items.")]
Id = Annotated[str, typer.Argument(metavar="ID", help="An item, from da memory list.")]
Title = Annotated[str, typer.Argument(metavar="TITLE", help="What it is about, in at most 60 characters.")]
Content = Annotated[str, typer.Argument(metavar="TEXT", help="What to know, in at most 1,000 characters.")]
Kind = Annotated[Category, typer.Option("--category", help="The category.")]
Tags = Annotated[list[str] | None, typer.Option("--tag", help="A tag; repeatable, up to 4.")]
Tables = Annotated[
    list[str] | None,
    typer.Option("--table", metavar="TABLE", help="A table that it is about. Only those who may read it see the item."),
]
Way = Annotated[Literal["up", "down", "none"], typer.Argument(metavar="up|down|none", help="none takes a vote back.")]
Ids = Annotated[list[str] | None, typer.Argument(metavar="[ID]...", help="Items; without any, lists what waits.")]
Doing = Annotated[Action | None, typer.Option("--action", "-a", help="What to do with the items.")]
All = Annotated[bool, typer.Option("--all", help="All items that wait.")]
Reason = Annotated[str | None, typer.Option("--reason", help="Why; a mandatory item needs it.")]
Audience = Annotated[str | None, typer.Option("--audience", help="all, or group:NAME.")]
Dry = Annotated[bool, typer.Option("--dry-run", "-n", help="Show what would change; change nothing.")]
Reset = Annotated[bool, typer.Option("--reset", help="Remove undecided items from notes, and read all notes again.")]
Into = Annotated[str, typer.Argument(metavar="INTO", help="The item that remains.")]
NewTitle = Annotated[str | None, typer.Option("--title", help="New title of the item that remains.")]
NewText = Annotated[str | None, typer.Option("--text", help="New text of the item that remains.")]

_PER_PAGE = 100


@app.command("list")
def list_items(
    text: Search = None,
    *,
    status: ByStatus = None,
    category: ByCategory = None,
    rules: Mine = False,
    limit: Limit = 50,
    json: Json = False,
) -> None:
    """List items of the memory, newest first.

    Examples:
      da memory list
      da memory list vat --status approved
      da memory list --rules
    """
    if rules and (text or status or category):
        raise UsageError("--rules can't be combined with other options")
    with doing("list the items of the memory") as server:
        if rules:
            found = server.get("/api/memory/rules")
            items, count = found["items"][:limit], found["count"]
        else:
            items, count = _items(server, limit, search=text, status=status, category=category)
    if json:
        print_json({"items": items, "count": count})
        return
    _print(items, empty="There are no matching items; to propose one, run: da memory propose")
    if count > len(items):
        say(f"{count - len(items):,} more; to see them, use --limit {min(count, 5000)}")


@app.command("show")
def show_item(item_id: Id, json: Json = False) -> None:
    """Show an item, with its source and its history if you may see them.

    Examples:
      da memory show km_0123456789ab
    """
    with doing(f"show the item '{item_id}'", missing="to list items, run: da memory list") as server:
        found = server.get(f"/api/memory/items/{segment(item_id)}")
    if json:
        print_json(found)
        return
    facts = [
        ("state", found["status"]),
        ("audience", found["audience"]),
        ("category", found["category"]),
        ("tags", ", ".join(found["tags"])),
        ("tables", ", ".join(found["tables"])),
        ("votes", f"{found['upvotes']} for, {found['downvotes']} against"),
        ("source", found["source"] or ""),
        ("reason", found["reason"] or ""),
        ("review by", local_time(found["review_by"]) if found["review_by"] else ""),
        ("note", (found["origin"] or {}).get("note", "")),
        (f"{found['relation']['kind']} of" if found["relation"] else "", (found["relation"] or {}).get("id", "")),
    ]
    say_text(f"{found['title']}\n\n{found['content']}\n")
    print_table(("", ""), [fact for fact in facts if fact[1]], empty="")
    for change in found["history"]:
        why = f": {change['reason']}" if change["reason"] else ""
        say(f"{local_time(change['at'])}  {change['action']} by {change['by'] or 'nobody'}{why}")


@app.command("propose")
def propose(
    title: Title,
    content: Content,
    *,
    category: Kind = "data_analysis",
    tag: Tags = None,
    table: Tables = None,
    json: Json = False,
) -> None:
    """Propose an item. Knowledge managers decide on it. Secrets in it are replaced.

    Examples:
      da memory propose "Orders are net" "Totals of orders exclude VAT." --table shop.orders --tag vat
    """
    new = {"title": title, "content": content, "category": category, "tags": tag or [], "tables": table or []}
    with doing("propose the item") as server:
        made = server.post("/api/memory", new)
    respond(made, f"Proposed {made['id']}, which is {made['status']}.", json=json)


@app.command("vote")
def vote(item_id: Id, way: Way, json: Json = False) -> None:
    """Vote for or against an item that is approved or mandatory.

    Unless the server is configured otherwise, an approved item that you vote for becomes one of your rules.

    Examples:
      da memory vote km_0123456789ab up
      da memory vote km_0123456789ab none
    """
    value = {"up": 1, "down": -1, "none": 0}[way]
    with doing(f"vote on '{item_id}'", missing="to list items, run: da memory list --status approved") as server:
        made = server.post(f"/api/memory/{segment(item_id)}/vote", {"vote": value}, again=True)
    respond(made, f"{made['upvotes']} for, {made['downvotes']} against.", json=json)


@admin_app.command("review")
def review(
    ids: Ids = None,
    *,
    action: Doing = None,
    everything: All = False,
    reason: Reason = None,
    audience: Audience = None,
    dry_run: Dry = False,
    json: Json = False,
) -> None:
    """List the items that wait for a decision, or decide on items.

    Each item is decided on separately: one that can't be changed is listed with the reason, and the others are changed.

    Examples:
      da admin memory review
      da admin memory review km_0123456789ab --action approve
      da admin memory review --all --action reject --reason "not needed" --dry-run
      da admin memory review km_0123456789ab --action mandate --reason "for all reports" --audience group:sales
    """
    if action is None and (ids or everything or reason or audience or dry_run):
        raise UsageError("choose what to do with the items: --action approve, mandate, reject or revoke")
    if action is not None and bool(ids) == everything:
        raise UsageError("name the items, or use --all for all that wait")
    with doing("decide on items of the memory" if action else "list the items that wait") as server:
        waiting = _items(server, 5000, status="pending")[0] if action is None or everything else []
        done: dict[str, Any] = {"dry_run": dry_run, "waiting": waiting, "done": {}, "refused": []}
        chosen = ids or [each["id"] for each in waiting]
        for start in range(0, len(chosen) if action else 0, 500):
            decision = {
                "ids": chosen[start : start + 500],
                "action": action,
                "reason": reason,
                "audience": audience,
                "dry_run": dry_run,
            }
            made = server.post("/api/memory/admin/decide", decision)
            done["done"] |= made["done"]
            done["refused"] += made["refused"]
    if json:
        print_json(done)
    elif action is None:
        _print(waiting, empty="There are no items to decide on; to list all, run: da memory list")
    else:
        would = "would be " if dry_run else ""
        for id_, status in done["done"].items():
            say(f"{id_}: {would}{status}")
        for refused in done["refused"]:
            say(f"{refused['id']}: {refused['error']}", err=True)
    if done["refused"]:
        raise typer.Exit(1)


@admin_app.command("merge")
def merge(item_id: Id, into: Into, title: NewTitle = None, text: NewText = None, json: Json = False) -> None:
    """Merge an item into another one: the first is rejected, and the other can get a new text.

    Examples:
      da admin memory merge km_0123456789ab km_ba9876543210
      da admin memory merge km_0123456789ab km_ba9876543210 --text "Totals of orders exclude VAT."
    """
    with doing(f"merge '{item_id}' into '{into}'", missing="to list items, run: da memory list") as server:
        made = server.post("/api/memory/admin/merge", {"id": item_id, "into": into, "title": title, "content": text})
    respond(made, f"Merged {item_id} into {into}.", json=json)


@admin_app.command("collect")
def collect(dry_run: Dry = False, reset: Reset = False, yes: Yes = False, json: Json = False) -> None:
    """Have the server's language model read new notes now, instead of at its next hourly run.

    With --dry-run, nothing is sent to the model. With --reset, undecided items from notes are removed first, and all
    notes are read again; decisions, votes and people's own proposals stay.

    Examples:
      da admin memory collect --dry-run
      da admin memory collect --reset --dry-run
    """
    if reset and not dry_run:
        confirm("Remove the items from notes on which nobody has decided, and have all notes read again?", yes=yes)
    asked = {"dry_run": dry_run, **({"reset": True} if reset else {})}
    with doing("collect from notes") as server:
        found = server.post("/api/memory/admin/collect", asked)
    what = f"{found['notes']:,} notes of {found['people']:,} people, {found['characters']:,} characters"
    text = f"{what}, {'wait' if dry_run else 'are read now'}."
    if reset:
        text += f" {found['removed']:,} items {'would be' if dry_run else 'are'} removed."
    respond(found, text, json=json)


def _items(server: Server, limit: int, **query: str | None) -> tuple[list[dict[str, Any]], int]:
    items: list[dict[str, Any]] = []
    page, count = 1, 1
    while len(items) < min(limit, count):
        found = server.get("/api/memory", page=page, per_page=_PER_PAGE, **query)
        items += found["items"]
        page, count = page + 1, found["count"] if found["items"] else 0
    return items[:limit], max(count, len(items))


def _print(items: list[dict[str, Any]], *, empty: str) -> None:
    rows = [
        (
            each["id"],
            each["status"],
            f"{each['score']:+d}" if each["score"] else "",
            each["source"] or "",
            "\n".join((each["title"], each["content"], *_related(each))),
        )
        for each in items
    ]
    print_table(("id", "state", "votes", "source", "item"), rows, optional=("source",), empty=empty)


def _related(each: dict[str, Any]) -> list[str]:
    return [f"({each['relation']['kind']} of {each['relation']['id']})"] if each["relation"] else []
