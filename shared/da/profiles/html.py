"""The profile of tables as one HTML page that needs nothing else: no script, no other file, no network."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from html import escape
from typing import Any, Final

from da.profiles.report import compact

Json = Mapping[str, Any]

_STYLE: Final = """
:root{--text:#1c2430;--soft:#5a6676;--line:#d8dee6;--back:#fff;--panel:#f5f7fa;--bar:#4f7fbf;--warn:#8a5a00;--good:#1f7a46;--bad:#b3261e}
@media(prefers-color-scheme:dark){:root{--text:#e6eaf0;--soft:#a3afbf;--line:#37414f;--back:#151a21;--panel:#1d242d;--bar:#7fa8de;--warn:#e2b25a;
--good:#6ccf97;--bad:#ff8a80}}
*{box-sizing:border-box}body{margin:0;font:15px/1.5 system-ui,sans-serif;color:var(--text);background:var(--back);display:flex}
nav{position:sticky;top:0;height:100vh;overflow:auto;width:16rem;flex:none;padding:1rem;background:var(--panel);border-right:1px solid var(--line)}
nav a{display:block;color:inherit;text-decoration:none;padding:.1rem .4rem;border-radius:.3rem;overflow-wrap:anywhere}nav a:hover{background:var(--line)}
nav a.column{padding-left:1.2rem;color:var(--soft);font-size:.9em}main{padding:1rem 2rem 4rem;flex:1;min-width:0;max-width:70rem}
h1,h2,h3{line-height:1.2}h2{margin-top:2.5rem;border-bottom:1px solid var(--line)}small,.soft{color:var(--soft)}
article{border:1px solid var(--line);border-radius:.5rem;padding:.6rem 1rem;margin:1rem 0}article h3{margin:.2rem 0}
table{border-collapse:collapse;margin:.5rem 0}td,th{padding:.15rem .8rem .15rem 0;text-align:left;vertical-align:top;overflow-wrap:anywhere}
td.n{text-align:right;font-variant-numeric:tabular-nums}.scroll{overflow-x:auto}.grid{display:flex;flex-wrap:wrap;gap:1rem 3rem}
.chart{display:flex;align-items:flex-end;gap:2px;height:5rem;min-width:14rem}.chart i{flex:1;background:var(--bar);min-height:1px}
.meter{display:inline-block;width:8rem;height:.7rem;background:var(--line);vertical-align:middle}.meter i{display:block;height:100%;background:var(--bar)}
.good{color:var(--good)}.warn{color:var(--warn)}.bad{color:var(--bad)}.badge{border:1px solid var(--line);border-radius:1rem;padding:0 .6rem;font-size:.85em}
@media(max-width:45rem){body{display:block}nav{position:static;width:auto;height:auto;max-height:40vh}main{padding:1rem}}
@media print{nav{display:none}article{break-inside:avoid}}
"""


def page(profiles: Sequence[Json]) -> str:
    """Return the page of one or more profiles."""
    title = f"Profile of {profiles[0]['table']}" if len(profiles) == 1 else f"Profiles of {len(profiles)} tables"
    links, sections = [], []
    for number, profile in enumerate(profiles):
        links.append(f'<a href="#t{number}"><b>{escape(profile["table"])}</b></a>')
        names = (each["name"] for each in profile["columnProfile"])
        links += [f'<a class="column" href="#t{number}c{i}">{escape(name)}</a>' for i, name in enumerate(names)]
        sections.append(_table(profile, f"t{number}"))
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width,initial-scale=1"><style>{_STYLE}</style></head><body>'
        f"<nav>{''.join(links)}</nav><main><h1>{escape(title)}</h1>{''.join(sections)}</main></body></html>\n"
    )


def _table(profile: Json, anchor: str) -> str:
    figures, at = profile["tableProfile"], profile["tableProfile"]["timestamp"]
    facts = [
        ("Rows", f"{figures['rowCount']:,}"),
        ("Columns", f"{figures['columnCount']:,}"),
        ("Size", f"{compact(figures['sizeInByte'])}B"),
        ("Completeness", _completeness(profile["completeness"])),
        ("Missing cells", f"{profile['missingCount']:,}"),
        ("Duplicate rows", None if profile["duplicateCount"] is None else f"{profile['duplicateCount']:,}"),
        ("Primary key", ", ".join(profile["primaryKey"]) or None),
        ("Key candidates", ", ".join("+".join(each) for each in profile["keyCandidates"][:5]) or None),
        ("Types", ", ".join(f"{count} {kind.lower()}" for kind, count in profile["types"].items())),
        ("Dates", _dates(profile["dateRange"])),
        ("Profiled", f"{datetime.fromtimestamp(at / 1000, UTC):%Y-%m-%d %H:%M} UTC"),
    ]
    columns = "".join(_column(each, f"{anchor}c{i}") for i, each in enumerate(profile["columnProfile"]))
    return (
        f'<section id="{anchor}"><h2>{escape(profile["table"])}</h2>'
        f"{_paragraph(profile.get('description'))}{_facts(facts)}{_alerts(profile['alerts'], 'Alerts', of_columns=True)}"
        f"{_correlations(profile['correlations'])}<h3>Columns</h3>{columns}{_rows(profile['sampleRows'])}</section>"
    )


def _column(column: Json, anchor: str) -> str:
    facts = [
        ("Completeness", _completeness(column["completeness"])),
        ("Missing", f"{column['nullCount']:,}"),
        ("Distinct", f"{'about ' if 'distinctCount' in column['estimated'] else ''}{column['distinctCount']:,}"),
        *((label, _figure(column.get(name))) for name, label in _FIGURES.items()),
    ]
    gaps = column.get("gaps") or {}
    if longest := gaps.get("longest"):
        facts.append(("Longest gap", f"{longest['days']:,} days, {longest['from']} to {longest['to']}"))
    badges = ["key"] if column["isPrimaryKey"] else []
    badges += ["sensitive: values are not shown"] if column["isSensitive"] else []
    marks = "".join(f' <span class="badge">{badge}</span>' for badge in badges)
    parts = [_facts(facts), _chart(column.get("histogram")), _frequent(column), _patterns(column)]
    return (
        f'<article id="{anchor}"><h3>{escape(column["name"])} <small>{escape(column["dataType"][:80])}</small>{marks}</h3>'
        f"{_paragraph(column.get('description'))}{_alerts(column['alerts'], '', of_columns=False)}"
        f'<div class="grid">{"".join(part for part in parts if part)}</div></article>'
    )


_FIGURES: Final = {
    "min": "Minimum",
    "firstQuartile": "First quartile",
    "median": "Median",
    "mean": "Mean",
    "thirdQuartile": "Third quartile",
    "max": "Maximum",
    "stddev": "Standard deviation",
    "sum": "Sum",
    "zerosCount": "Zeros",
    "negativeCount": "Negative",
    "nonFiniteCount": "NaN or infinite",
    "spanDays": "Days",
    "minLength": "Shortest",
    "maxLength": "Longest",
    "meanLength": "Mean length",
    "blankCount": "Empty texts",
    "trueCount": "True",
    "falseCount": "False",
}


def _figure(value: Any) -> str | None:
    if value is None or value == "":
        return None
    if isinstance(value, float):
        return f"{value:,.6g}" if abs(value) < 1e6 else f"{value:,.2f}"  # noqa: PLR2004 - shorter in full
    return f"{value:,}" if isinstance(value, int) else str(value)


def _facts(facts: Iterable[tuple[str, str | None]]) -> str:
    shown = ((name, value) for name, value in facts if value is not None)
    return f"<table>{''.join(f'<tr><th>{name}</th><td>{_html(value)}</td></tr>' for name, value in shown)}</table>"


def _html(value: str) -> str:
    return value if value.startswith('<span class="') else escape(value)


def _completeness(percent: float | None) -> str | None:
    if percent is None:
        return None
    kind = "good" if percent >= 95 else "warn" if percent >= 80 else "bad"  # noqa: PLR2004 - the colors of the report
    return f'<span class="{kind}">{percent:g} %</span>'


def _dates(dates: Json | None) -> str | None:
    return f"{dates['min']} to {dates['max']} ({dates['column']})" if dates else None


def _paragraph(text: str | None) -> str:
    return f'<p class="soft">{escape(text)}</p>' if text else ""


def _alerts(alerts: Sequence[Json], title: str, *, of_columns: bool) -> str:
    if not alerts:
        return ""
    lines = []
    for each in alerts[:200]:
        name = f"<b>{escape(each['column'])}</b> " if of_columns and each["column"] else ""
        lines.append(f'<li class="warn">{name}{escape(each["message"])} <small>{escape(each["type"])}</small></li>')
    return f"{f'<h3>{title}</h3>' if title else ''}<ul>{''.join(lines)}</ul>"


def _correlations(correlations: Sequence[Json]) -> str:
    strong = [each for each in correlations if abs(each["coefficient"]) >= 0.3][:20]  # noqa: PLR2004 - worth a look
    if not strong:
        return ""
    rows = "".join(
        f'<tr><td>{escape(" and ".join(each["columns"]))}</td><td class="n">{each["coefficient"]:.2f}</td></tr>'
        for each in strong
    )
    return f"<h3>Correlations</h3><table>{rows}</table>"


def _chart(histogram: Json | None) -> str:
    if not histogram or not any(histogram["frequencies"]):
        return ""
    most = max(histogram["frequencies"])
    bars = "".join(
        f'<i style="height:{100 * count / most:.1f}%" title="{escape(label)}: {count:,}"></i>'
        for label, count in zip(histogram["boundaries"], histogram["frequencies"], strict=True)
    )
    first, last = histogram["boundaries"][0], histogram["boundaries"][-1]
    return f'<div><div class="chart">{bars}</div><small>{escape(first)} … {escape(last)}</small></div>'


def _frequent(column: Json) -> str:
    rows = "".join(
        f'<tr><td>{escape(str(each["value"]))}</td><td class="n">{each["count"]:,}</td>'
        f'<td><span class="meter"><i style="width:{100 * each["proportion"]:.1f}%"></i></span> {100 * each["proportion"]:.1f} %</td></tr>'
        for each in column.get("topValues", ())
    )
    if rows:
        return f"<div><b>Most frequent values</b><table>{rows}</table></div>"
    some = ", ".join(escape(str(each)) for each in column.get("sampleValues", ()))
    return f"<div><b>Some values</b><p>{some}</p></div>" if some else ""


def _patterns(column: Json) -> str:
    rows = "".join(
        f'<tr><td><code>{escape(each["pattern"])}</code></td><td class="n">{100 * each["proportion"]:.1f} %</td></tr>'
        for each in column.get("patterns", ())
    )
    return f"<div><b>Shapes</b><table>{rows}</table></div>" if rows else ""


def _rows(rows: Sequence[Json]) -> str:
    if not rows:
        return ""
    head = "".join(f"<th>{escape(name)}</th>" for name in rows[0])
    body = "".join(f"<tr>{''.join(f'<td>{_cell(value)}</td>' for value in row.values())}</tr>" for row in rows)
    return f'<h3>Some rows</h3><div class="scroll"><table><tr>{head}</tr>{body}</table></div>'


def _cell(value: Any) -> str:
    return '<span class="soft">null</span>' if value is None else escape(str(value))
