"""`da admin`: the commands for administrators."""

from da.commands import (
    access_requests,
    admin_audit,
    admin_backup,
    admin_config,
    admin_describe,
    admin_discover,
    admin_grants,
    admin_import,
    admin_jira,
    admin_leak_check,
    admin_materialized,
    admin_openmetadata,
    admin_runs,
    admin_schedule,
    admin_sources,
    admin_tables,
    admin_tasks,
    admin_users,
    catalog,
    expectations,
    memory,
    notifications,
    tokens,
)
from da.help import Commands

app = Commands("Manage users, grants, sources, tables and runs (administrators only).")

_PEOPLE, _SOURCES, _RUNS, _SERVER = "Users and access", "Sources and tables", "Runs and snapshots", "The server"

app.add_typer(admin_users.app, name="users", rich_help_panel=_PEOPLE)
app.add_typer(admin_users.groups_app, name="groups", rich_help_panel=_PEOPLE)
app.add_typer(admin_grants.app, name="grants", rich_help_panel=_PEOPLE)
app.command("access", rich_help_panel=_PEOPLE)(admin_grants.access)
app.add_typer(access_requests.app, name="requests", rich_help_panel=_PEOPLE)
app.command("leak-check", rich_help_panel=_PEOPLE)(admin_leak_check.leak_check)
app.add_typer(tokens.admin_app, name="tokens", rich_help_panel=_PEOPLE)
app.command("audit", rich_help_panel=_PEOPLE)(admin_audit.audit)
app.add_typer(admin_sources.app, name="sources", rich_help_panel=_SOURCES)
app.add_typer(admin_tables.app, name="tables", rich_help_panel=_SOURCES)
app.add_typer(admin_materialized.app, name="materialized", rich_help_panel=_SOURCES)
app.command("describe", rich_help_panel=_SOURCES)(admin_describe.describe)
app.command("expect", rich_help_panel=_SOURCES)(expectations.set_expectations)
app.add_typer(catalog.terms_app, name="glossary", rich_help_panel=_SOURCES)
app.add_typer(memory.admin_app, name="memory", rich_help_panel=_SOURCES)
app.command("discover", rich_help_panel=_SOURCES)(admin_discover.discover)
app.add_typer(admin_jira.app, name="jira", rich_help_panel=_SOURCES)
app.command("sync", rich_help_panel=_RUNS)(admin_runs.sync)
app.command("runs", rich_help_panel=_RUNS)(admin_runs.runs)
app.add_typer(admin_tasks.app, name="tasks", rich_help_panel=_RUNS)
app.command("schedule", rich_help_panel=_RUNS)(admin_schedule.schedule)
app.command("set-schedule", rich_help_panel=_RUNS)(admin_schedule.set_schedule)
app.command("rebuild", rich_help_panel=_RUNS)(admin_runs.rebuild)
app.command("rollback", rich_help_panel=_RUNS)(admin_runs.rollback)
app.command("release", rich_help_panel=_RUNS)(admin_runs.release)
app.command("sweep", rich_help_panel=_SERVER)(admin_runs.sweep)
app.command("backup", rich_help_panel=_SERVER)(admin_backup.backup)
app.command("restore", rich_help_panel=_SERVER)(admin_backup.restore)
app.add_typer(admin_config.app, name="config", rich_help_panel=_SERVER)
app.add_typer(admin_openmetadata.app, name="openmetadata", rich_help_panel=_SERVER)
app.command("telegram", rich_help_panel=_SERVER)(notifications.telegram)
app.command("import", rich_help_panel=_SERVER)(admin_import.import_)

# Former names, kept for compatibility.
app.command("add-user", hidden=True)(admin_users.add_user)
app.command("list-users", hidden=True)(admin_users.list_users)
app.command("add-source", hidden=True)(admin_sources.add)
app.command("list-sources", hidden=True)(admin_sources.list_sources)
app.command("register-table", hidden=True)(admin_tables.register_table)
app.command("list-tables", hidden=True)(admin_tables.list_tables)
app.command("grant", hidden=True)(admin_grants.grant)
app.command("revoke", hidden=True)(admin_grants.revoke)
