"""Sign-in methods. Each is one module in `analyst/auth/providers/` with a `PROVIDER`, and its functions."""

import importlib
import pkgutil
from dataclasses import dataclass
from functools import cache
from typing import Protocol

from analyst.errors import NotFoundError, SettingsError
from analyst.settings import Settings


@dataclass(frozen=True, slots=True)
class LoginButton:
    """The button of a sign-in method on the sign-in page. Lower `order` values come first."""

    text: str
    url: str
    order: int


class AuthProvider(Protocol):
    """A sign-in method: it proves an e-mail address, which is passed to `sign_in.sign_in`."""

    @property
    def name(self) -> str:
        """The name under which it is listed, and disabled in the settings."""

    def is_available(self, settings: Settings) -> bool:
        """Return whether it is configured, regardless of whether it is disabled."""

    def button(self, settings: Settings) -> LoginButton | None:
        """Return its button; `None` for a method without one."""


@cache
def all_providers() -> tuple[AuthProvider, ...]:
    """Find the providers: the `PROVIDER` of each module in `analyst.auth.providers`, by name."""
    from analyst.auth import providers

    modules = [
        importlib.import_module(f"{providers.__name__}.{item.name}")
        for item in pkgutil.iter_modules(providers.__path__)
    ]
    return tuple(sorted((module.PROVIDER for module in modules), key=lambda provider: provider.name))


def require(provider: AuthProvider, settings: Settings) -> None:
    """Require that a provider is available, before its functions work.

    Raises:
        NotFoundError: it is not configured, or disabled.
    """
    if provider not in available_providers(settings):
        hint = "" if settings.base_url else "; an administrator must set BASE_URL for methods that send links"
        raise NotFoundError(f"sign-in by {provider.name} is not configured on this server{hint}")


def available_providers(settings: Settings) -> tuple[AuthProvider, ...]:
    """Return the providers that are configured and not disabled, in the order of their buttons.

    Raises:
        SettingsError: a provider is disabled that does not exist; the one that is meant would stay available.
    """
    known = [provider.name for provider in all_providers()]
    if unknown := [name for name in settings.disabled_auth_providers if name not in known]:
        raise SettingsError(
            f"DISABLED_AUTH_PROVIDERS: there is no sign-in method {unknown[0]!r}; there are {', '.join(known)}"
        )
    found = [
        provider
        for provider in all_providers()
        if provider.name not in settings.disabled_auth_providers and provider.is_available(settings)
    ]
    return tuple(sorted(found, key=lambda provider: _order(provider, settings)))


def _order(provider: AuthProvider, settings: Settings) -> tuple[int, str]:
    button = provider.button(settings)
    return (1 << 30 if button is None else button.order, provider.name)
