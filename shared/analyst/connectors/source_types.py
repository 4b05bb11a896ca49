"""What the connectors here understand: the config of a source, and the options of its tables."""

from types import MappingProxyType
from typing import Final

from analyst.connectors.files.options import CsvSource, CsvTableOptions
from analyst.connectors.jira.source import JiraSource, JiraTableOptions
from analyst.state.source_types import Job, SourceType, SourceTypes

SOURCE_TYPES: Final[SourceTypes] = MappingProxyType(
    {
        "csv": SourceType(CsvSource, CsvTableOptions),
        "jira": SourceType(
            JiraSource,
            JiraTableOptions,
            jobs=(
                Job("fold", "/extract/jira/fold", "every 1m"),
                Job("tidy", "/extract/jira/tidy", "every 1h"),
                Job("sla", "/extract/jira/sla", "every 15m"),
                Job("attachments", "/extract/jira/attachments", "every 15m"),
                Job("check", "/extract/jira/check", "daily 03:30"),
            ),
        ),
    }
)
