"""`da admin`: the commands for administrators."""

from da.commands import (
    access_requests,
    admin_config,
    admin_grants,
    admin_import,
    admin_jira,
    admin_runs,
    admin_schedule,
    admin_tables,
    admin_users,
    tokens,
)
from da.options import command_group

app = command_group("Manage users, grants, sources, tables and runs (administrators only).")

app.add_typer(admin_users.app, name="users")
app.add_typer(admin_users.groups_app, name="groups")
app.add_typer(admin_grants.app, name="grants")
app.command("access")(admin_grants.access)
app.add_typer(access_requests.app, name="requests")
app.add_typer(tokens.admin_app, name="tokens")
app.command("add-source")(admin_tables.add_source)
app.command("list-sources")(admin_tables.list_sources)
app.command("register-table")(admin_tables.register_table)
app.command("list-tables")(admin_tables.list_tables)
app.command("sync")(admin_runs.sync)
app.command("schedule")(admin_schedule.schedule)
app.command("set-schedule")(admin_schedule.set_schedule)
app.command("rebuild")(admin_runs.rebuild)
app.command("rollback")(admin_runs.rollback)
app.command("release")(admin_runs.release)
app.command("sweep")(admin_runs.sweep)
app.command("import")(admin_import.import_)
app.add_typer(admin_jira.app, name="jira")
app.add_typer(admin_config.app, name="config")

# Former names, kept for compatibility.
app.command("add-user", hidden=True)(admin_users.add_user)
app.command("list-users", hidden=True)(admin_users.list_users)
app.command("grant", hidden=True)(admin_grants.grant)
app.command("revoke", hidden=True)(admin_grants.revoke)
