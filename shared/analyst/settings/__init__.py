"""The settings of a process."""

from analyst.settings.model import Settings

__all__ = ["Settings"]
