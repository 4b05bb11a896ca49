"""The audit log: who did what, to what, from where, and with which outcome.

An edit of the system state writes its own row of `audit_log`. Everything else that is audited is an `AuditEvent`, stored
before the response in batches of JSON lines: `state/audit/date=2026-01-31/<ulid>.jsonl`.
"""

from analyst.audit.events import AuditEvent, Note, Noting, Outcome
from analyst.audit.writer import DENIED, UNCHANGED, Audit, Rule

__all__ = ["DENIED", "UNCHANGED", "Audit", "AuditEvent", "Note", "Noting", "Outcome", "Rule"]
