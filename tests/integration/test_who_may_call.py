"""Who may call which function: every function has a row, and is called by every kind of caller.

A row says who is let in and which scope a token needs, not how the function is declared: it is what we promise.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from itertools import chain, combinations
from pathlib import Path
from typing import Any, Final

import pytest
from werkzeug.test import Client

from analyst.access import Role, Scope
from analyst.auth import sessions
from analyst.context import Process
from analyst.http import HttpFunction, app
from tests.all_functions import FUNCTIONS
from tests.doubles.memory_store import MemoryStore
from tests.doubles.oidc import Provider, oidc_provider

SECRET = "bootstrap-" + "b" * 32
SERVICE = "service-" + "s" * 32
SCHEDULER = "scheduler@project.iam.gserviceaccount.com"
AUDIENCE = "https://data.example.com"
NOW = datetime(2026, 3, 1, tzinfo=UTC)

ANYBODY, CALLERS, SERVICES = "anybody", "whoever proves who they are", "services and admins"
READ, SYNC, ADMINISTER = Scope.READ, Scope.SYNC, Scope.ADMIN

TABLE: Final[Mapping[str, tuple[str | Role, Scope]]] = {
    "GET /": (Role.VIEWER, READ),
    "GET /account": (Role.VIEWER, READ),
    "GET /admin": (Role.ADMIN, ADMINISTER),
    "GET /admin/access": (Role.ADMIN, ADMINISTER),
    "POST /admin/access": (Role.ADMIN, ADMINISTER),
    "POST /admin/access/{id}/revoke": (Role.ADMIN, ADMINISTER),
    "GET /admin/audit": (Role.ADMIN, ADMINISTER),
    "POST /admin/groups": (Role.ADMIN, ADMINISTER),
    "POST /admin/groups/{id}/delete": (Role.ADMIN, ADMINISTER),
    "POST /admin/groups/{id}/members": (Role.ADMIN, ADMINISTER),
    "GET /admin/people": (Role.ADMIN, ADMINISTER),
    "POST /admin/people": (Role.ADMIN, ADMINISTER),
    "GET /admin/people/{id}": (Role.ADMIN, ADMINISTER),
    "POST /admin/people/{id}": (Role.ADMIN, ADMINISTER),
    "POST /admin/people/{id}/delete": (Role.ADMIN, ADMINISTER),
    "POST /admin/people/{id}/invite": (Role.ADMIN, ADMINISTER),
    "POST /admin/people/{id}/release": (Role.ADMIN, ADMINISTER),
    "POST /admin/people/{id}/sign-out": (Role.ADMIN, ADMINISTER),
    "POST /admin/people/{id}/view-as": (Role.ADMIN, ADMINISTER),
    "GET /admin/requests": (Role.ADMIN, ADMINISTER),
    "POST /admin/requests/{id}": (Role.ADMIN, ADMINISTER),
    "GET /admin/runs": (Role.ADMIN, ADMINISTER),
    "GET /admin/runs/{id}": (Role.ADMIN, ADMINISTER),
    "GET /admin/schedule": (Role.ADMIN, ADMINISTER),
    "GET /admin/settings": (Role.ADMIN, ADMINISTER),
    "POST /admin/settings": (Role.ADMIN, ADMINISTER),
    "GET /admin/snapshots": (Role.ADMIN, ADMINISTER),
    "POST /admin/snapshots": (Role.ADMIN, ADMINISTER),
    "POST /admin/snapshots/release": (Role.ADMIN, ADMINISTER),
    "POST /admin/access/explain": (Role.ADMIN, ADMINISTER),
    "POST /admin/audit": (Role.ADMIN, ADMINISTER),
    "POST /admin/people/search": (Role.ADMIN, ADMINISTER),
    "GET /admin/sources": (Role.ADMIN, ADMINISTER),
    "POST /admin/sources": (Role.ADMIN, ADMINISTER),
    "GET /admin/sources/{name}": (Role.ADMIN, ADMINISTER),
    "POST /admin/sources/{name}": (Role.ADMIN, ADMINISTER),
    "POST /admin/sources/{name}/register": (Role.ADMIN, ADMINISTER),
    "POST /admin/sources/{name}/remove": (Role.ADMIN, ADMINISTER),
    "POST /admin/sources/{name}/sync": (Role.ADMIN, ADMINISTER),
    "POST /admin/sources/{name}/tables": (Role.ADMIN, ADMINISTER),
    "POST /admin/sweep": (Role.ADMIN, ADMINISTER),
    "POST /admin/sync": (Role.ADMIN, ADMINISTER),
    "GET /admin/tables": (Role.ADMIN, ADMINISTER),
    "GET /admin/tables/{source}/{name}": (Role.ADMIN, ADMINISTER),
    "POST /admin/tables/{source}/{name}": (Role.ADMIN, ADMINISTER),
    "POST /admin/tables/{source}/{name}/grant": (Role.ADMIN, ADMINISTER),
    "POST /admin/tables/{source}/{name}/options": (Role.ADMIN, ADMINISTER),
    "POST /admin/tables/{source}/{name}/remove": (Role.ADMIN, ADMINISTER),
    "POST /admin/view-as/end": (Role.ADMIN, ADMINISTER),
    "GET /catalog": (Role.VIEWER, READ),
    "GET /glossary": (Role.VIEWER, READ),
    "POST /glossary": (Role.KM_ADMIN, ADMINISTER),
    "GET /glossary/{name}": (Role.VIEWER, READ),
    "POST /glossary/{name}": (Role.KM_ADMIN, ADMINISTER),
    "POST /glossary/{name}/remove": (Role.KM_ADMIN, ADMINISTER),
    "GET /metrics": (Role.VIEWER, READ),
    "GET /metrics/{name}": (Role.VIEWER, READ),
    "GET /memory": (Role.VIEWER, READ),
    "POST /memory/propose": (Role.ANALYST, READ),
    "POST /memory/vote": (Role.ANALYST, READ),
    "GET /memory/admin": (Role.KM_ADMIN, ADMINISTER),
    "POST /memory/admin/collect": (Role.KM_ADMIN, ADMINISTER),
    "POST /memory/admin/decide": (Role.KM_ADMIN, ADMINISTER),
    "POST /memory/admin/edit": (Role.KM_ADMIN, ADMINISTER),
    "POST /memory/admin/merge": (Role.KM_ADMIN, ADMINISTER),
    "GET /notifications": (Role.VIEWER, READ),
    "POST /notifications/channels": (Role.VIEWER, READ),
    "POST /notifications/kinds": (Role.VIEWER, READ),
    "POST /notifications/read": (Role.VIEWER, READ),
    "GET /prometheus": (SERVICES, ADMINISTER),
    "GET /query": (Role.ANALYST, Scope.QUERY),
    "POST /query": (Role.ANALYST, Scope.QUERY),
    "POST /query/download": (Role.ANALYST, Scope.QUERY),
    "POST /query/history/clear": (Role.ANALYST, Scope.QUERY),
    "POST /query/share": (Role.ANALYST, Scope.QUERY),
    "GET /query/shared/{id}": (Role.ANALYST, Scope.QUERY),
    "GET /api/query/names": (Role.ANALYST, Scope.QUERY),
    "GET /static/{name}": (ANYBODY, READ),
    "GET /tables/{source}/{name}": (Role.VIEWER, READ),
    "POST /tables/{source}/{name}/columns": (Role.KM_ADMIN, ADMINISTER),
    "POST /tables/{source}/{name}/description": (Role.KM_ADMIN, ADMINISTER),
    "POST /tables/{source}/{name}/feedback": (Role.VIEWER, READ),
    "POST /tables/{source}/{name}/request": (Role.VIEWER, READ),
    "POST /account/password": (Role.VIEWER, ADMINISTER),
    "POST /account/requests": (Role.VIEWER, READ),
    "POST /account/sessions/end": (Role.VIEWER, ADMINISTER),
    "POST /account/tokens": (Role.VIEWER, ADMINISTER),
    "POST /account/tokens/revoke": (Role.VIEWER, ADMINISTER),
    "GET /api/notifications": (Role.VIEWER, READ),
    "POST /api/notifications/read": (Role.VIEWER, READ),
    "GET /api/notifications/preferences": (Role.VIEWER, READ),
    "GET /api/notifications/stream": (Role.VIEWER, READ),
    "PUT /api/notifications/preferences": (Role.VIEWER, READ),
    "POST /api/notifications/test": (Role.VIEWER, READ),
    "POST /api/telegram/link": (Role.VIEWER, READ),
    "POST /api/telegram/verify": (Role.VIEWER, READ),
    "POST /api/telegram/unlink": (Role.VIEWER, READ),
    "GET /api/telegram/status": (Role.VIEWER, READ),
    "POST /api/admin/telegram/webhook": (Role.ADMIN, ADMINISTER),
    "POST /webhooks/telegram": (ANYBODY, READ),
    "POST /telegram/poll": (SERVICES, ADMINISTER),
    "POST /notifications/collect": (SERVICES, ADMINISTER),
    "POST /notifications/deliver": (SERVICES, ADMINISTER),
    "GET /api/memory": (Role.VIEWER, READ),
    "POST /api/memory": (Role.ANALYST, READ),
    "GET /api/memory/items/{id}": (Role.VIEWER, READ),
    "GET /api/memory/rules": (Role.VIEWER, READ),
    "GET /api/memory/stats": (Role.VIEWER, READ),
    "POST /api/memory/{id}/vote": (Role.ANALYST, READ),
    "POST /api/memory/admin/decide": (Role.KM_ADMIN, ADMINISTER),
    "POST /api/memory/admin/merge": (Role.KM_ADMIN, ADMINISTER),
    "POST /api/memory/admin/collect": (Role.KM_ADMIN, ADMINISTER),
    "POST /memory/collect": (SERVICES, ADMINISTER),
    "PUT /api/memory/admin/items/{id}": (Role.KM_ADMIN, ADMINISTER),
    "POST /api/memory/notes": (Role.ANALYST, READ),
    "GET /api/memory/notes": (Role.VIEWER, READ),
    "GET /api/memory/notes/{id}": (Role.VIEWER, READ),
    "DELETE /api/memory/notes/{id}": (Role.VIEWER, READ),
    "GET /api/notifications/{id}/picture": (Role.VIEWER, READ),
    "GET /api/sync/table-subscriptions": (Role.ANALYST, READ),
    "POST /api/sync/table-subscriptions": (Role.ANALYST, Scope.SYNC),
    "POST /account/tables": (Role.ANALYST, READ),
    "PUT /api/memory/files/{name}": (Role.ANALYST, READ),
    "GET /api/scripts": (Role.VIEWER, READ),
    "POST /api/scripts/deploy": (Role.ANALYST, Scope.QUERY),
    "GET /api/scripts/{id}": (Role.VIEWER, READ),
    "DELETE /api/scripts/{id}": (Role.ANALYST, Scope.QUERY),
    "GET /api/scripts/{id}/runs": (Role.VIEWER, READ),
    "POST /api/scripts/{id}/run": (Role.ANALYST, Scope.QUERY),
    "POST /api/scripts/run": (Role.ANALYST, Scope.QUERY),
    "GET /api/script-examples": (Role.VIEWER, READ),
    "POST /scripts/run": (Role.ANALYST, READ),
    "POST /api/scripts/{id}/pause": (Role.ANALYST, Scope.QUERY),
    "POST /api/scripts/{id}/resume": (Role.ANALYST, Scope.QUERY),
    "POST /run-script": (SERVICES, ADMINISTER),
    "GET /scripts": (Role.VIEWER, READ),
    "POST /scripts/save": (Role.ANALYST, READ),
    "GET /scripts/{id}": (Role.VIEWER, READ),
    "POST /scripts/{id}/{action}": (Role.ANALYST, READ),
    "GET /api/admin/usage": (Role.ADMIN, ADMINISTER),
    "GET /admin/usage": (Role.ADMIN, ADMINISTER),
    "POST /api/access-requests": (Role.VIEWER, READ),
    "GET /api/access-requests/mine": (Role.VIEWER, READ),
    "GET /api/admin/access": (Role.ADMIN, ADMINISTER),
    "GET /api/admin/access-requests": (Role.ADMIN, ADMINISTER),
    "POST /api/admin/access-requests/{id}/approve": (Role.ADMIN, ADMINISTER),
    "POST /api/admin/access-requests/{id}/deny": (Role.ADMIN, ADMINISTER),
    "GET /api/admin/audit": (Role.ADMIN, ADMINISTER),
    "GET /api/admin/config": (Role.ADMIN, ADMINISTER),
    "POST /api/admin/config/check": (Role.ADMIN, ADMINISTER),
    "POST /api/admin/config/apply": (Role.ADMIN, ADMINISTER),
    "GET /api/admin/discover-tables": (Role.ADMIN, ADMINISTER),
    "POST /api/admin/discover-tables": (Role.ADMIN, ADMINISTER),
    "GET /api/admin/groups": (Role.ADMIN, ADMINISTER),
    "POST /api/admin/groups": (Role.ADMIN, ADMINISTER),
    "DELETE /api/admin/groups/{id}": (Role.ADMIN, ADMINISTER),
    "DELETE /api/admin/groups/{id}/members/{user_id}": (Role.ADMIN, ADMINISTER),
    "PUT /api/admin/groups/{id}/members/{user_id}": (Role.ADMIN, ADMINISTER),
    "POST /api/admin/backup": (Role.ADMIN, ADMINISTER),
    "POST /api/admin/backup/urls": (Role.ADMIN, ADMINISTER),
    "POST /api/admin/restore": (Role.ADMIN, ADMINISTER),
    "POST /api/admin/restore/files": (Role.ADMIN, ADMINISTER),
    "POST /api/admin/import": (Role.ADMIN, ADMINISTER),
    "POST /api/admin/import/tables": (Role.ADMIN, ADMINISTER),
    "PUT /api/admin/import/parts/{sha256}": (Role.ADMIN, ADMINISTER),
    "DELETE /api/admin/import/parts": (Role.ADMIN, ADMINISTER),
    "POST /api/admin/jira/backfill": (Role.ADMIN, ADMINISTER),
    "POST /api/admin/jira/check": (Role.ADMIN, ADMINISTER),
    "POST /api/admin/jira/refresh": (Role.ADMIN, ADMINISTER),
    "POST /api/admin/jira/replay": (Role.ADMIN, ADMINISTER),
    "GET /api/admin/jira/status": (Role.ADMIN, ADMINISTER),
    "GET /api/admin/permissions": (Role.ADMIN, ADMINISTER),
    "POST /api/admin/permissions": (Role.ADMIN, ADMINISTER),
    "DELETE /api/admin/permissions/{id}": (Role.ADMIN, ADMINISTER),
    "POST /api/admin/snapshots/{number}/rollback": (Role.ADMIN, ADMINISTER),
    "POST /api/admin/snapshots/release": (Role.ADMIN, ADMINISTER),
    "GET /api/admin/schedule": (Role.ADMIN, ADMINISTER),
    "POST /api/admin/schedule": (Role.ADMIN, ADMINISTER),
    "GET /api/admin/health": (Role.ADMIN, ADMINISTER),
    "GET /api/admin/tasks": (Role.ADMIN, ADMINISTER),
    "POST /api/admin/tasks/{id}/retry": (Role.ADMIN, ADMINISTER),
    "DELETE /api/admin/tasks/{id}": (Role.ADMIN, ADMINISTER),
    "GET /api/admin/sources": (Role.ADMIN, ADMINISTER),
    "GET /api/admin/sources/{name}": (Role.ADMIN, ADMINISTER),
    "POST /api/admin/sources/{name}": (Role.ADMIN, ADMINISTER),
    "PUT /api/admin/sources/{name}": (Role.ADMIN, ADMINISTER),
    "DELETE /api/admin/sources/{name}": (Role.ADMIN, ADMINISTER),
    "POST /api/admin/sources/{name}/preview": (Role.ADMIN, ADMINISTER),
    "POST /api/admin/sources/{name}/remove": (Role.ADMIN, ADMINISTER),
    "POST /api/admin/sources/{name}/test": (Role.ADMIN, ADMINISTER),
    "GET /api/admin/tables": (Role.ADMIN, ADMINISTER),
    "GET /api/admin/tables/{id}": (Role.ADMIN, ADMINISTER),
    "POST /api/admin/tables/{id}": (Role.ADMIN, ADMINISTER),
    "PUT /api/admin/tables/{id}": (Role.ADMIN, ADMINISTER),
    "DELETE /api/admin/tables/{id}": (Role.ADMIN, ADMINISTER),
    "PUT /api/admin/metrics/{name}": (Role.KM_ADMIN, ADMINISTER),
    "DELETE /api/admin/metrics/{name}": (Role.KM_ADMIN, ADMINISTER),
    "POST /api/admin/metrics/import": (Role.KM_ADMIN, ADMINISTER),
    "GET /api/catalog/metrics": (Role.VIEWER, READ),
    "GET /api/catalog/search": (Role.VIEWER, READ),
    "GET /api/catalog/lineage": (Role.VIEWER, READ),
    "GET /api/admin/openmetadata": (Role.ADMIN, ADMINISTER),
    "POST /api/admin/openmetadata/import": (Role.ADMIN, ADMINISTER),
    "POST /api/admin/openmetadata/export": (Role.ADMIN, ADMINISTER),
    "GET /api/glossary": (Role.VIEWER, READ),
    "GET /api/glossary/{name}": (Role.VIEWER, READ),
    "PUT /api/admin/glossary/{name}": (Role.KM_ADMIN, ADMINISTER),
    "DELETE /api/admin/glossary/{name}": (Role.KM_ADMIN, ADMINISTER),
    "POST /api/feedback": (Role.VIEWER, READ),
    "GET /api/feedback": (Role.VIEWER, READ),
    "GET /api/admin/feedback": (Role.KM_ADMIN, ADMINISTER),
    "GET /api/metrics": (Role.VIEWER, READ),
    "GET /api/metrics/{name}": (Role.VIEWER, READ),
    "GET /api/metrics/{name}/sql": (Role.VIEWER, READ),
    "POST /api/admin/tables/{id}/profile": (Role.ADMIN, ADMINISTER),
    "GET /api/catalog/tables": (Role.VIEWER, READ),
    "GET /api/catalog/tables/{id}": (Role.VIEWER, READ),
    "POST /api/data/urls": (Role.ANALYST, SYNC),
    "GET /api/data/{table_id}/download": (Role.ANALYST, SYNC),
    "GET /api/cli": (ANYBODY, READ),
    "GET /api/health": (ANYBODY, READ),
    "GET /cli": (ANYBODY, READ),
    "GET /cli/{filename}": (ANYBODY, READ),
    "GET /api/me": (CALLERS, READ),
    "GET /.well-known/oauth-authorization-server": (ANYBODY, READ),
    "GET /.well-known/oauth-protected-resource": (ANYBODY, READ),
    "GET /.well-known/oauth-protected-resource/mcp": (ANYBODY, READ),
    "GET /.well-known/oauth-authorization-server/{place}": (ANYBODY, READ),
    "GET /.well-known/oauth-protected-resource/{place}": (ANYBODY, READ),
    "GET /oauth/authorize": (Role.VIEWER, READ),
    "POST /oauth/authorize": (Role.VIEWER, READ),
    "POST /oauth/register": (ANYBODY, READ),
    "POST /oauth/revoke": (ANYBODY, READ),
    "POST /oauth/token": (ANYBODY, READ),
    "GET /.claude-plugin/marketplace.json": (ANYBODY, READ),
    "GET /agents/plugin.git/info/refs": (ANYBODY, READ),
    "POST /agents/plugin.git/git-upload-pack": (ANYBODY, READ),
    "GET /api/agents/plugin": (ANYBODY, READ),
    "GET /llms.txt": (Role.VIEWER, READ),
    "GET /catalog/{table}.md": (Role.VIEWER, READ),
    "GET /catalog/{table}.json": (Role.VIEWER, READ),
    "GET /delta-sharing/shares": (Role.ANALYST, SYNC),
    "GET /delta-sharing/shares/{share}": (Role.ANALYST, SYNC),
    "GET /delta-sharing/shares/{share}/all-tables": (Role.ANALYST, SYNC),
    "GET /delta-sharing/shares/{share}/schemas": (Role.ANALYST, SYNC),
    "GET /delta-sharing/shares/{share}/schemas/{schema_}/tables": (Role.ANALYST, SYNC),
    "GET /delta-sharing/shares/{share}/schemas/{schema_}/tables/{table}": (Role.ANALYST, SYNC),
    "GET /delta-sharing/shares/{share}/schemas/{schema_}/tables/{table}/version": (Role.ANALYST, SYNC),
    "GET /delta-sharing/shares/{share}/schemas/{schema_}/tables/{table}/metadata": (Role.ANALYST, SYNC),
    "POST /delta-sharing/shares/{share}/schemas/{schema_}/tables/{table}/query": (Role.ANALYST, SYNC),
    "GET /delta-sharing/shares/{share}/schemas/{schema_}/tables/{table}/changes": (Role.ANALYST, SYNC),
    "GET /api/agents/workspace": (Role.VIEWER, READ),
    "GET /api/admin/agents/template": (Role.KM_ADMIN, ADMINISTER),
    "PUT /api/admin/agents/template": (Role.KM_ADMIN, ADMINISTER),
    "GET /api/agents/catalog": (Role.VIEWER, READ),
    "POST /mcp": (Role.VIEWER, READ),
    "POST /api/query": (Role.ANALYST, Scope.QUERY),
    "POST /api/receipts/verify": (Role.ANALYST, Scope.QUERY),
    "GET /api/snapshots": (Role.VIEWER, READ),
    "GET /api/tables/{id}/schema": (Role.VIEWER, READ),
    "GET /api/tables/{id}/sample": (Role.ANALYST, Scope.QUERY),
    "GET /api/sync/rules": (Role.ANALYST, Scope.SYNC),
    "GET /api/sync/manifest": (Role.ANALYST, SYNC),
    "GET /api/sync/sources": (Role.ANALYST, SYNC),
    "GET /api/sync/status": (SERVICES, ADMINISTER),
    "POST /api/sync/trigger": (SERVICES, ADMINISTER),
    "GET /api/tables/{id}/description": (Role.VIEWER, READ),
    "PUT /api/admin/tables/{id}/description": (Role.KM_ADMIN, ADMINISTER),
    "GET /api/tables/{id}/expectations": (Role.VIEWER, READ),
    "PUT /api/admin/tables/{id}/expectations": (Role.KM_ADMIN, ADMINISTER),
    "GET /api/tables/{id}/profile": (Role.VIEWER, READ),
    "GET /api/tables/{id}/relations": (Role.VIEWER, READ),
    "POST /api/admin/relations": (Role.ADMIN, ADMINISTER),
    "GET /api/users": (Role.ADMIN, ADMINISTER),
    "POST /api/users": (Role.ADMIN, ADMINISTER),
    "PUT /api/users/{id}": (Role.ADMIN, ADMINISTER),
    "DELETE /api/users/{id}": (Role.ADMIN, ADMINISTER),
    "DELETE /api/users/{id}/identities": (Role.ADMIN, ADMINISTER),
    "POST /api/users/{id}/invite": (Role.ADMIN, ADMINISTER),
    "POST /api/users/{id}/sign-out": (Role.ADMIN, ADMINISTER),
    "POST /auth/bootstrap": (ANYBODY, READ),
    "GET /auth/desktop": (Role.VIEWER, READ),
    "POST /auth/desktop": (Role.VIEWER, READ),
    "POST /auth/desktop/refresh": (ANYBODY, READ),
    "POST /auth/desktop/token": (ANYBODY, READ),
    "GET /auth/email": (ANYBODY, READ),
    "POST /auth/email": (ANYBODY, READ),
    "GET /auth/email/confirm": (ANYBODY, READ),
    "POST /auth/email/confirm": (ANYBODY, READ),
    "GET /auth/google": (ANYBODY, READ),
    "GET /auth/google/callback": (ANYBODY, READ),
    "POST /auth/logout": (Role.VIEWER, READ),
    "POST /auth/logout/everywhere": (Role.VIEWER, ADMINISTER),
    "GET /auth/password": (ANYBODY, READ),
    "POST /auth/password": (ANYBODY, READ),
    "POST /auth/password/change": (Role.VIEWER, ADMINISTER),
    "GET /auth/password/forgot": (ANYBODY, READ),
    "POST /auth/password/forgot": (ANYBODY, READ),
    "GET /auth/password/set": (ANYBODY, READ),
    "POST /auth/password/set": (ANYBODY, READ),
    "GET /auth/providers": (ANYBODY, READ),
    "GET /auth/tokens": (Role.VIEWER, READ),
    "POST /auth/tokens": (Role.VIEWER, ADMINISTER),
    "DELETE /auth/tokens/{id}": (Role.VIEWER, ADMINISTER),
    "POST /extract/bigquery": (SERVICES, ADMINISTER),
    "POST /extract/csv": (SERVICES, ADMINISTER),
    "POST /extract/discover": (SERVICES, ADMINISTER),
    "POST /extract/keboola": (SERVICES, ADMINISTER),
    "POST /extract/materialized": (SERVICES, ADMINISTER),
    "POST /extract/imported": (SERVICES, ADMINISTER),
    "POST /extract/jira": (SERVICES, ADMINISTER),
    "POST /extract/preview": (SERVICES, ADMINISTER),
    "POST /extract/jira/attachments": (SERVICES, ADMINISTER),
    "POST /extract/jira/check": (SERVICES, ADMINISTER),
    "POST /extract/jira/sla": (SERVICES, ADMINISTER),
    "POST /extract/jira/fold": (SERVICES, ADMINISTER),
    "POST /extract/jira/refresh": (SERVICES, ADMINISTER),
    "POST /extract/jira/replay": (SERVICES, ADMINISTER),
    "POST /extract/jira/tidy": (SERVICES, ADMINISTER),
    "GET /files/{path}": (ANYBODY, READ),
    "GET /iceberg-files/{path}": (ANYBODY, READ),
    "GET /iceberg/v1/config": (Role.ANALYST, SYNC),
    "GET /iceberg/v1/namespaces": (Role.ANALYST, SYNC),
    "GET /iceberg/v1/namespaces/{namespace}": (Role.ANALYST, SYNC),
    "GET /iceberg/v1/namespaces/{namespace}/tables": (Role.ANALYST, SYNC),
    "GET /iceberg/v1/namespaces/{namespace}/tables/{table}": (Role.ANALYST, SYNC),
    "GET /iceberg/v1/namespaces/{namespace}/tables/{table}/credentials": (Role.ANALYST, SYNC),
    "POST /iceberg/v1/namespaces/{namespace}/tables/{table}/metrics": (Role.ANALYST, SYNC),
    "POST /iceberg/v1/oauth/tokens": (ANYBODY, READ),
    "GET /login": (ANYBODY, READ),
    "POST /profile": (SERVICES, ADMINISTER),
    "POST /check-metrics": (SERVICES, ADMINISTER),
    "POST /check-freshness": (SERVICES, ADMINISTER),
    "POST /import-openmetadata": (SERVICES, ADMINISTER),
    "POST /rebuild": (SERVICES, ADMINISTER),
    "POST /schedule": (SERVICES, ADMINISTER),
    "POST /sweep": (SERVICES, ADMINISTER),
    "POST /webhooks/jira": (ANYBODY, READ),
    "GET /webhooks/jira/health": (SERVICES, ADMINISTER),
}

REFUSED: Final = {
    "expired",
    "revoked",
    "deactivated",
    "made up",
    "expired session",
    "forged session",
    "other service",
    "service of others",
    "identity of an admin",
}
"""Kinds of callers that show a proof, which proves nothing."""


SUBSETS: Final = tuple(chain.from_iterable(combinations(Scope, size) for size in range(1, len(Scope) + 1)))
"""What a token can be for."""


def row(function: HttpFunction) -> str:
    return f"{function.function.method} {function.function.path.text}"


def expected(function: HttpFunction, kind: str) -> int | None:
    """Return the status that the table promises: 401, 403, or `None` for whoever is let in."""
    who, scope = TABLE[row(function)]
    if who == ANYBODY:
        return None
    if kind == "anonymous" or kind in REFUSED:
        return 401
    if kind in {"service", "scheduler"}:
        return None if who in {CALLERS, SERVICES} else 403
    role, _, scopes = kind.partition(" with ")
    least = Role.ADMIN if who == SERVICES else Role.VIEWER if who == CALLERS else Role(who)
    lacks = scopes not in {"", "session"} and scope not in scopes.split("+")
    return 403 if not Role(role).includes(least) or lacks else None


class People:
    """An installation with somebody of each kind; `proofs` are the tokens that they show."""

    def __init__(self, issuer: Provider) -> None:
        self.now = NOW
        environ = {
            "DATA_URL": "file:///nowhere",
            "BOOTSTRAP_SECRET": SECRET,
            "SERVICE_TOKEN": SERVICE,
            "SECRET_KEY": "s" * 32,
            "SERVICE_ACCOUNT_EMAILS": SCHEDULER,
            "SERVICE_AUDIENCE": AUDIENCE,
            "SERVICE_ISSUER": issuer.url,
            "ENVIRONMENT": "development",
            "BASE_URL": "http://localhost",
            "JIRA_WEBHOOK_SECRET": "w" * 32,
        }
        self.process = Process(environ, store=MemoryStore(), clock=lambda: self.now)
        self.client = Client(app(self.process, FUNCTIONS))
        self.admin = str(self.make("/auth/bootstrap", {"email": "root@example.com", "secret": SECRET}, None)["token"])
        self.proofs: dict[str, str | None] = {"anonymous": None, "service": SERVICE, "made up": "da_" + "x" * 43}
        self._add_users()
        self._add_spoilt()
        self._add_services(issuer)

    def make(self, path: str, body: Mapping[str, Any], token: str | None) -> Mapping[str, Any]:
        answer = self.client.post(path, json=body, headers=self.headers(token))
        assert answer.status_code in {200, 201}, answer.text
        made: Mapping[str, Any] = answer.get_json()
        return made

    @staticmethod
    def headers(token: str | None) -> dict[str, str]:
        return {} if token is None else {"Authorization": f"Bearer {token}"}

    def token(self, email: str, *scopes: Scope, days: int = 90) -> Mapping[str, Any]:
        wanted = {"name": "x", "user": email, "scopes": scopes or tuple(Scope), "expires_in_days": days}
        return self.make("/auth/tokens", wanted, self.admin)

    def proof(self, kind: str) -> str | None:
        """Return what somebody of this kind shows: of a session a new one each time, since some functions end it."""
        proof = self.proofs[kind]
        if not kind.endswith(" with session"):
            return proof
        session = sessions.begin(str(proof), self.now)
        return sessions.for_browser(self.process.keys, session, self.now)

    def _add_users(self) -> None:
        for role in Role:
            user = self.make("/api/users", {"email": f"{role}@example.com", "role": role}, self.admin)
            self.proofs[role] = self.token(user["email"])["token"]
            for scopes in SUBSETS if role is Role.ADMIN else [(scope,) for scope in Scope]:
                self.proofs[f"{role} with {'+'.join(scopes)}"] = self.token(user["email"], *scopes)["token"]
            self.proofs[f"{role} with session"] = user["id"]

    def _add_spoilt(self) -> None:
        long_ago = self.now - timedelta(days=30)
        self.now = long_ago
        self.proofs["expired"] = self.token("admin@example.com", days=1)["token"]
        self.now = NOW
        revoked = self.token("admin@example.com")
        self.client.delete(f"/auth/tokens/{revoked['id']}", headers=self.headers(self.admin))
        gone = self.make("/api/users", {"email": "gone@example.com", "role": "admin"}, self.admin)
        self.proofs |= {"revoked": revoked["token"], "deactivated": self.token("gone@example.com")["token"]}
        self.client.put(f"/api/users/{gone['id']}", json={"active": False}, headers=self.headers(self.admin))
        old = sessions.for_browser(self.process.keys, sessions.begin(gone["id"], long_ago), long_ago)
        self.proofs |= {
            "expired session": old,
            "forged session": f"{old.rpartition('.')[0]}.{'A' * 43}",
        }

    def _add_services(self, issuer: Provider) -> None:
        claims = {"email_verified": True, "iat": NOW.timestamp(), "exp": NOW.timestamp() + 3600}
        self.proofs |= {
            "scheduler": issuer.token(AUDIENCE, email=SCHEDULER, **claims),
            "other service": issuer.token(AUDIENCE, email="other@project.iam.gserviceaccount.com", **claims),
            "service of others": issuer.token("https://elsewhere.example.com", email=SCHEDULER, **claims),
            "identity of an admin": issuer.token("our-client", email="root@example.com", **claims),
        }


@pytest.fixture(scope="module")
def people() -> Iterator[People]:
    with oidc_provider() as issuer:
        yield People(issuer)


def test_every_function_has_a_row_and_every_row_a_function() -> None:
    assert {row(function) for function in FUNCTIONS} == TABLE.keys()


@pytest.mark.parametrize("function", FUNCTIONS, ids=row)
def test_every_kind_of_caller_gets_the_answer_in_the_table_of_rights(people: People, function: HttpFunction) -> None:
    template = function.function.path
    path = template.text.format(**dict.fromkeys(template.names, "a.b"))
    ask = asking(people, function.function.method, path)
    plain = ask(None)
    wrong = {}
    for kind in people.proofs:
        status, promised = ask(people.proof(kind)), expected(function, kind)
        if TABLE[row(function)][0] == ANYBODY:
            is_right = status == plain and status not in {500, 503}
        elif function.function.is_page and promised == 401 and function.function.method == "GET":
            is_right = status == 303  # to the page where one signs in
        else:
            is_right = status == promised if promised else status not in {401, 403, 500, 503}
        if not is_right:
            wrong[kind] = (status, promised)
    assert wrong == {}


@pytest.mark.parametrize("function", [each for each in FUNCTIONS if each.function.twin is not None], ids=row)
def test_the_twin_of_a_page_answers_the_same_callers(people: People, function: HttpFunction) -> None:
    twin = function.function.twin
    assert twin is not None
    ask = asking(people, "GET", twin.path.text.format(**dict.fromkeys(twin.path.names, "a.b")))
    wrong = {}
    for kind in people.proofs:
        status, promised = ask(people.proof(kind)), expected(function, kind)
        if status != promised if promised else status in {401, 403, 500, 503}:
            wrong[kind] = (status, promised)
    assert wrong == {}


def test_pages_that_show_something_have_a_twin() -> None:
    """The others are forms, of which nothing is to be read, and pages for those who have not signed in."""
    without = {row(each) for each in FUNCTIONS if each.function.is_page and each.function.twin is None}
    assert {each for each in without if each.startswith("GET") and TABLE[each][0] != ANYBODY} == {
        "GET /auth/desktop",
        "GET /oauth/authorize",
    }


def asking(people: People, method: str, path: str) -> Callable[[str | None], int]:
    """Ask with an input that does nothing: it lacks what every input needs, or names what is not there."""

    def ask(proof: str | None) -> int:
        body = None if method in {"GET", "DELETE"} else {"no_such_field": 1}
        answer = people.client.open(path, method=method, json=body, headers=people.headers(proof), buffered=True)
        return answer.status_code

    return ask


@pytest.mark.parametrize("scopes", SUBSETS, ids="+".join)
def test_a_token_of_an_administrator_acts_for_others_only_with_the_scope_admin(
    people: People, scopes: tuple[Scope, ...]
) -> None:
    mine = people.headers(str(people.proofs[f"admin with {'+'.join(scopes)}"]))
    theirs = people.token("viewer@example.com", Scope.READ)
    may_read, may_administrate = Scope.READ in scopes, Scope.ADMIN in scopes
    of_others = (200 if may_read and may_administrate else 403, *((201, 204) if may_administrate else (403, 403)))
    new = {"name": "x", "scopes": scopes[:1]}
    for user in ("all", "viewer@example.com", "VIEWER@example.com"):
        answer = people.client.get("/auth/tokens", query_string={"user": user}, headers=mine)
        assert answer.status_code == of_others[0], user
        assert may_administrate or theirs["id"] not in answer.text
    made = people.client.post("/auth/tokens", json={**new, "user": "viewer@example.com"}, headers=mine)
    assert made.status_code == of_others[1]
    revocable = of_others[2] if may_read else 403  # else theirs may do more than mine
    assert people.client.delete(f"/auth/tokens/{theirs['id']}", headers=mine).status_code == revocable
    still = people.client.get("/api/me", headers=people.headers(str(theirs["token"])))
    assert still.status_code == (401 if revocable == 204 else 200)
    own = people.client.post("/auth/tokens", json=new, headers=mine)
    assert own.status_code == (201 if may_administrate else 403)
    if may_read:
        listed = people.client.get("/auth/tokens", headers=mine).get_json()["tokens"]
        assert {token["email"] for token in listed} == {"admin@example.com"}
    if may_administrate:
        assert people.client.delete(f"/auth/tokens/{own.get_json()['id']}", headers=mine).status_code == 204


@pytest.mark.parametrize("scopes", SUBSETS, ids="+".join)
def test_a_token_may_revoke_itself_but_without_the_scope_admin_no_other(
    people: People, scopes: tuple[Scope, ...]
) -> None:
    leaked, other = (people.token("analyst@example.com", *scopes) for _ in range(2))
    mine = people.headers(leaked["token"])
    answer = people.client.delete(f"/auth/tokens/{other['id']}", headers=mine)
    assert answer.status_code == (204 if Scope.ADMIN in scopes else 403)
    assert people.client.delete(f"/auth/tokens/{leaked['id']}", headers=mine).status_code == 204
    assert people.client.get("/api/me", headers=mine).status_code == 401


def test_roles_are_compared_where_scopes_are_checked_too() -> None:
    """Nothing but the rules of access compares the role of a caller: what does would forget the scopes of its token."""
    root = Path(__file__).resolve().parents[2]
    sources = [*(root / "functions").rglob("*.py"), *(root / "shared/analyst").rglob("*.py")]
    compared = re.compile(
        r"caller(?:_or_none)?\.role\b|\.role (?:is|==|in|not|!=) |\.role\.includes\(|\.lacks_scope_for\("
    )
    found = {path.relative_to(root).as_posix() for path in sources if compared.search(path.read_text())}
    assert found == {
        "shared/analyst/access/explanation.py",
        "shared/analyst/access/roles.py",
        "shared/analyst/access/rules.py",
        "shared/analyst/auth/callers.py",
        "shared/analyst/http/admission.py",
        "shared/analyst/imports/migrated_rows.py",
        "shared/analyst/memory/items.py",  # of those whose notes say the same, not of a caller
        "shared/analyst/visible_tables.py",
        "shared/analyst/state/access_report.py",
        "shared/analyst/state/tokens.py",
        "shared/analyst/state/users.py",
    }
