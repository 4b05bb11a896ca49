"""`da admin`: what administrators do."""

import typer

from da.commands import admin_import, admin_people, admin_runs, admin_tables

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    help="Administer users, grants, sources and tables.",
)

app.command("add-user")(admin_people.add_user)
app.command("list-users")(admin_people.list_users)
app.command("grant")(admin_people.grant)
app.command("revoke")(admin_people.revoke)
app.command("add-source")(admin_tables.add_source)
app.command("list-sources")(admin_tables.list_sources)
app.command("register-table")(admin_tables.register_table)
app.command("list-tables")(admin_tables.list_tables)
app.command("sync")(admin_runs.sync)
app.command("rebuild")(admin_runs.rebuild)
app.command("rollback")(admin_runs.rollback)
app.command("sweep")(admin_runs.sweep)
app.command("import")(admin_import.import_)
