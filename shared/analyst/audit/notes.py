"""What a function tells of a request for the audit: it knows what was done to what."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class Note:
    """What is known so far. Of an `action` that is named the function's own name is not told."""

    action: str | None = None
    resources: tuple[str, ...] = ()
    params: dict[str, Any] = field(default_factory=dict)
    is_unchanged: bool = False
    user_id: str | None = None
    email: str | None = None


class Noting:
    """Takes down what functions tell; the context of a request does."""

    __slots__ = ()
    note: Note

    def audited(self, *resources: str, is_unchanged: bool = False, **params: Any) -> None:
        """Tell what this is done to, such as `table:shop.orders`, and more about it: JSON values, and no secrets.

        What is told at several times adds up. Of answers that say that nothing has changed, many are counted as one.
        """
        self.note.resources = (*self.note.resources, *resources)
        self.note.params.update(params)
        self.note.is_unchanged = is_unchanged

    def signs_in(self, provider: str, email: str | None = None, user_id: str | None = None) -> None:
        """Tell that this is a sign-in, by which provider, of whom; of which user when that is certain."""
        self.note.action = "auth.sign_in"
        self.note.user_id = user_id
        self.note.email = email
        self.note.params["provider"] = provider
