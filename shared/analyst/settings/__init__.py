"""The settings of a process: read once, from its environment and from config/instance.yaml.

The code uses `Settings`. `get_value` and `get_data_source_type` return single values by key.
"""

from analyst.settings.configuration import Configuration, get_data_source_type, get_value, read_settings
from analyst.settings.model import Settings

__all__ = ["Configuration", "Settings", "get_data_source_type", "get_value", "read_settings"]
