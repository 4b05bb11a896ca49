"""The types of sources that this version has connectors for: the config of a source, and the options of its tables."""

import difflib
from types import MappingProxyType
from typing import Final

from analyst.connectors.bigquery.options import BigQuerySource, BigQueryTableOptions
from analyst.connectors.files.options import CsvSource, CsvTableOptions
from analyst.connectors.jira.source import JiraSource, JiraTableOptions
from analyst.connectors.keboola.options import KeboolaSource, KeboolaTableOptions
from analyst.connectors.materialized.options import MaterializedOptions, MaterializedSource
from analyst.errors import InvalidInputError
from analyst.state.source_types import EXTERNAL, Job, SourceType, SourceTypes

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
            is_outside=True,
        ),
        "keboola": SourceType(KeboolaSource, KeboolaTableOptions),
        "bigquery": SourceType(BigQuerySource, BigQueryTableOptions),
        "materialized": SourceType(MaterializedSource, MaterializedOptions),
    }
)


def check_connector(type_: str) -> None:
    """Reject a type of source that this version can't read.

    Raises:
        InvalidInputError: there is no connector for it, and no external process writes its extract.
    """
    if type_ not in SOURCE_TYPES and type_ != EXTERNAL:
        near = difflib.get_close_matches(type_, [*SOURCE_TYPES, EXTERNAL], 1)
        hint = f"did you mean '{near[0]}'? There are" if near else "there are"
        raise InvalidInputError(
            f"this version has no connector for sources of type '{type_}'; {hint} csv (files), jira, keboola, bigquery, "
            "materialized (SQL over other tables) and external (an extract that you write to the bucket)"
        )
