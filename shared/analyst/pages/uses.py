"""The ways to use a table: with `da`, DuckDB, Python, agents, Delta Sharing, Iceberg and Spark, each with a text to copy."""

from collections.abc import Iterator
from typing import NamedTuple

from analyst.access import Caller, Role
from analyst.catalog_view import TableDetail
from analyst.names import quote_text
from analyst.pages.results import plain, readable_name

_DATABASE = "user/duckdb/analytics.duckdb"


class Use(NamedTuple):
    """A way to use a table: its name, what it needs, and the text to copy."""

    name: str
    hint: str
    text: str


def uses(table: TableDetail, caller: Caller, server: str, data_url: str) -> list[Use]:
    """List the ways in which a caller can use a table, with the address of the server in the texts."""
    is_mirrored = table.query_mode != "remote" and not table.server_only
    statement = f"from {readable_name(table.id, table.view)} limit 10"
    return [
        *_with_da(statement, is_mirrored=is_mirrored, server_only=table.server_only),
        *(_over_http(statement, server) if caller.includes(Role.ANALYST) else ()),
        Use(
            "Agent (MCP)",
            f"Claude Code, Codex, Cursor and others: an MCP server at {server}/mcp. The agent signs in as you, and can only read.",
            f"claude mcp add --transport http data {server}/mcp",
        ),
        *(_shared(table.id, server) if is_mirrored and caller.includes(Role.ANALYST) else ()),
        *(_in_iceberg(table.id, server) if is_mirrored and caller.includes(Role.ANALYST) else ()),
        *(_in_the_bucket(table.id, data_url) if is_mirrored and caller.includes(Role.ADMIN) else ()),
    ]


def _with_da(statement: str, *, is_mirrored: bool, server_only: bool) -> Iterator[Use]:
    yield Use(
        "da",
        "On your machine, offline, after da sync."
        if is_mirrored
        else "This table is not mirrored; the query runs on the server.",
        f'da sync\nda query {"--remote " if server_only else ""}"{statement}"',
    )
    if is_mirrored:
        yield Use("DuckDB", "In the folder where you run da sync.", f'duckdb -readonly {_DATABASE} -c "{statement}"')
        yield Use(
            "Python",
            "In a notebook or script in the folder where you run da sync.",
            f'import duckdb\n\nmirror = duckdb.connect("{_DATABASE}", read_only=True)\nmirror.sql("{statement}").df()',
        )


def _over_http(statement: str, server: str) -> Iterator[Use]:
    yield Use(
        "Python, without da",
        "With an access token of your account, over HTTP.",
        "import requests\n\n"
        f'server, headers = "{server}", {{"Authorization": "Bearer da_…"}}\n'
        f'asked = {{"sql": "{statement}"}}\n'
        'requests.post(f"{server}/api/query", json=asked, headers=headers).json()["rows"]',
    )


def _shared(table_id: str, server: str) -> Iterator[Use]:
    place = f"data.share#data.{table_id}"
    yield Use(
        "Delta Sharing",
        f"pandas, Power BI, Tableau and others, from {server}/delta-sharing. The profile contains a credential.",
        "pip install delta-sharing\nda share profile -o data.share\n"
        f"python -c \"import delta_sharing; print(delta_sharing.load_as_pandas('{place}', limit=10))\"",
    )
    yield Use(
        "Spark",
        "With the package io.delta:delta-sharing-spark, and data.share of da share profile.",
        f'spark.read.format("deltaSharing").load("{place}")',
    )


def _in_iceberg(table_id: str, server: str) -> Iterator[Use]:
    yield Use(
        "Iceberg",
        f"pyiceberg, Polars, Spark, Trino and others, from the REST catalog {server}/iceberg, with an access token of your account that has the scope sync.",
        "from pyiceberg.catalog import load_catalog\n\n"
        f'catalog = load_catalog("data", type="rest", uri="{server}/iceberg", token="da_…")\n'
        f'catalog.load_table("{table_id}").scan(limit=10).to_arrow()',
    )
    source, name = table_id.split(".")
    yield Use(
        "Iceberg in DuckDB",
        "In any DuckDB, with the same access token. It reads only the files and columns that a query needs.",
        "install iceberg; load iceberg;\n"
        f"attach 'data' as data (type iceberg, endpoint {quote_text(f'{server}/iceberg')}, token 'da_…');\n"
        f"from data.{plain(source, name)} limit 10;",
    )


def _in_the_bucket(table_id: str, data_url: str) -> Iterator[Use]:
    source, name = table_id.split(".")
    yield Use(
        "Spark, in the bucket",
        "For those with access to the bucket itself, where the table is a Delta table.",
        f'spark.read.format("delta").load("{data_url}/extracts/{source}/data/{name}")',
    )
