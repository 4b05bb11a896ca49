"""System state: users, groups, tokens, grants, sources and the table registry, in one DuckDB file.

It changes rarely, one edit at a time (`State.edit`), and every edit also publishes the access list for the read path.
The other modules of this package hold the edits: plain functions of a connection to the open file.
"""

from analyst.state.audit import Actor, actor
from analyst.state.database import State
from analyst.state.schema import SCHEMA_VERSION, StateTooNewError

__all__ = ["SCHEMA_VERSION", "Actor", "State", "StateTooNewError", "actor"]
