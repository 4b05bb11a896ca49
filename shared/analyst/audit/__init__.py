"""The audit: who did what to what, from where, and how it ended.

What an edit of the system state does is a row of its `audit_log`, written in that edit. Everything else that is audited
is an `Event`, in batches of JSON lines that answers wait for: `state/audit/date=2026-01-31/<ulid>.jsonl`.
"""

from analyst.audit.events import AuditEvent, Note, Noting, Outcome
from analyst.audit.writer import DENIED, UNCHANGED, Audit, Rule

__all__ = ["DENIED", "UNCHANGED", "Audit", "AuditEvent", "Note", "Noting", "Outcome", "Rule"]
