"""System state: users, groups, tokens, grants, sources and the table registry, in one DuckDB file.

It changes rarely, one edit at a time (`State.edit`), and every edit also publishes the access list for the read path.
The other modules of this package hold the edits: plain functions of a connection to the open file.
"""

from analyst.access import SCHEMA_VERSION, StateTooNewError
from analyst.state.audit import Actor, actor
from analyst.state.database import State

__all__ = ["SCHEMA_VERSION", "Actor", "State", "StateTooNewError", "actor"]
