"""Rich text, as ADF and as wiki markup, becomes plain text."""

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyst.connectors.jira.issue import adf, values, wiki
from analyst.connectors.jira.issue.values import Report


def text(words: str, *marks: Any) -> dict[str, Any]:
    return {"type": "text", "text": words, "marks": list(marks)}


def node(kind: str, *content: Any, **attrs: Any) -> dict[str, Any]:
    return {"type": kind, "content": list(content), "attrs": attrs}


def paragraph(*content: Any) -> dict[str, Any]:
    return node("paragraph", *content)


def item(words: str, *more: Any) -> dict[str, Any]:
    return node("listItem", paragraph(text(words)), *more)


CARD = {
    "type": "inlineCard",
    "attrs": {"data": {"@type": "Document", "url": "https://ex.example/d", "name": "Doc name"}},
}
LINK = {"type": "link", "attrs": {"href": "https://a.example/b"}}


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ([], ""),
        ([paragraph(text("one "), text("two", {"type": "strong"})), paragraph(text("three"))], "one two\nthree"),
        ([paragraph(text("a"), node("hardBreak"), text("b"))], "a\nb"),
        ([paragraph(text("here", LINK))], "here (https://a.example/b)"),
        ([paragraph(text("https://a.example/b", LINK))], "https://a.example/b"),
        ([node("heading", text("Title"), level=1), paragraph()], "Title"),
        ([node("bulletList", item("a", node("bulletList", item("b"))), item("c"))], "- a\n  - b\n- c"),
        ([node("orderedList", item("a"), item("b"), order=3)], "3. a\n4. b"),
        ([node("codeBlock", text("x = 1\ny = 2"), language="python")], "x = 1\ny = 2"),
        ([node("blockquote", paragraph(text("quoted")))], "quoted"),
        ([node("panel", paragraph(text("noted")), panelType="info")], "noted"),
        (
            [
                node(
                    "table",
                    node(
                        "tableRow", node("tableHeader", paragraph(text("h"))), node("tableHeader", paragraph(text("i")))
                    ),
                    node("tableRow", node("tableCell", paragraph(text("a"))), node("tableCell", paragraph(text("b")))),
                )
            ],
            "h | i\na | b",
        ),
        (
            [paragraph(node("mention", id="5b10", text="@Ann"), text(" and "), node("mention", id="5b11"))],
            "@Ann and 5b11",
        ),
        ([paragraph(node("emoji", shortName=":smile:", text="😄"), node("emoji", shortName=":own:"))], "😄:own:"),
        ([paragraph(node("inlineCard", url="https://a.example"))], "https://a.example"),
        ([node("blockCard", url="https://a.example")], "https://a.example"),
        ([node("mediaSingle", node("media", id="1", type="file", alt="a.png"))], "a.png"),
        ([node("mediaGroup", node("media", id="1", type="file"))], ""),
        ([paragraph(text("a")), node("rule"), paragraph(text("b"))], "a\n---\nb"),
        (
            [paragraph(node("status", text="DONE"), text(" "), node("date", timestamp="1714557600000"))],
            "DONE 2024-05-01",
        ),
        ([paragraph(node("date", timestamp="never"))], "never"),
        ([node("expand", paragraph(text("inside")), title="More")], "More\ninside"),
        (
            [node("taskList", node("taskItem", text("do"), state="TODO"), node("taskItem", text("did"), state="DONE"))],
            "[ ] do\n[x] did",
        ),
        ([node("decisionList", node("decisionItem", text("so be it")))], "- so be it"),
        ([node("invention", paragraph(text("kept")), node("other", text("too")))], "kept\ntoo"),
        (
            [paragraph(text("see "), CARD, node("inlineExtension", extensionKey="k", extensionType="t", text="shown"))],
            "see Doc name (https://ex.example/d)shown",
        ),
        (
            [paragraph(node("inlineCard", data={"@id": "https://a.example", "name": "https://a.example"}))],
            "https://a.example",
        ),
        (
            [paragraph(node("inlineCard", data={"url": {"@value": "https://a.example"}, "summary": "Sum"}))],
            "Sum (https://a.example)",
        ),
        ([paragraph(node("inlineCard", url="https://a.example", data={"name": "A"}))], "A (https://a.example)"),
        ([paragraph(node("inlineCard", data="https://a.example"))], "https://a.example"),
        ([node("blockCard", data={"url": "https://a.example", "name": "A"})], "A (https://a.example)"),
        (
            [node("blockCard", datasource={"parameters": {"jql": "project = A"}}, url="https://a.example/q")],
            "https://a.example/q",
        ),
        ([node("blockCard", datasource={"parameters": {"jql": "project = A"}})], "project = A"),
        ([node("embedCard", url="https://a.example", layout="wide")], "https://a.example"),
        ([paragraph(text("a "), node("mediaInline", id="1", alt="a.png", collection="c"))], "a a.png"),
        (
            [node("mediaSingle", node("media", id="1", alt="a.png"), node("caption", text("Below")))],
            "a.png\nBelow",
        ),
        (
            [node("mediaSingle", node("media", type="external", url="https://a.example/p.png"))],
            "https://a.example/p.png",
        ),
        ([node("mediaSingle", {**node("media", id="1", alt="a.png"), "marks": [LINK]})], "a.png (https://a.example/b)"),
        (
            [node("mediaGroup", node("media", id="1", alt="a.png"), node("media", id="2", __fileName="b.txt"))],
            "a.png\nb.txt",
        ),
        ([paragraph(node("emoji", shortName=":own:", fallback="☺"), node("emoji", id="1f600"))], ":own:1f600"),
        ([paragraph(node("mention", id="5b10", userType="APP"))], "5b10"),
        ([paragraph(node("status", text="", localId="x"), node("date", timestamp=1714557600000))], "2024-05-01"),
        ([node("nestedExpand", paragraph(text("in")), title="T")], "T\nin"),
        ([node("expand", title="Only a title")], "Only a title"),
        ([node("taskList", node("blockTaskItem", paragraph(text("do")), state="TODO"))], "[ ] do"),
        (
            [
                node(
                    "taskList",
                    node("taskItem", text("a"), state="TODO"),
                    node("taskList", node("taskItem", text("b"), state="DONE")),
                )
            ],
            "[ ] a\n    [x] b",
        ),
        (
            [node("extension", extensionKey="toc", parameters={"macroParams": {"title": {"value": "Contents"}}})],
            "Contents",
        ),
        ([node("bodiedExtension", paragraph(text("in")), extensionKey="k", text="Macro")], "Macro\nin"),
        (
            [
                node(
                    "multiBodiedExtension",
                    node("extensionFrame", paragraph(text("a"))),
                    node("extensionFrame", paragraph(text("b"))),
                )
            ],
            "a\nb",
        ),
        (
            [
                node(
                    "layoutSection",
                    node("layoutColumn", paragraph(text("l"))),
                    node("layoutColumn", paragraph(text("r"))),
                )
            ],
            "l\nr",
        ),
        ([node("panel", paragraph(text("x")), panelType="custom", panelIconText="💡")], "x"),
        ([paragraph(text("a "), node("novelty", text="told"), text(" b"))], "a told b"),
        ([node("novelty", paragraph(text("in")), title="A title")], "A title\nin"),
        ([paragraph(node("novelty", label="L", url="https://a.example"))], "L (https://a.example)"),
        ([paragraph({"type": "novelty", "text": "t", "attrs": {"id": "1"}})], "t"),
        ([paragraph({"type": "text", "text": 7}, {"type": "text", "text": 1.5})], "71.5"),
        ([node("unsupportedBlock", originalValue={"type": "paragraph", "content": [text("kept")]})], "kept"),
        ([paragraph(node("placeholder", text="Type here"))], "Type here"),
        ([node("codeBlock", text("x"), language="python", title="a.py")], "a.py\nx"),
        ([text("bare"), {"type": 7, "content": "x"}, "no node", None, [1]], "bare"),
    ],
)
def test_blocks_of_adf_become_lines(content: list[Any], expected: str) -> None:
    assert adf.plain({"type": "doc", "version": 1, "content": content}) == expected


KINDS = [
    "paragraph",
    "heading",
    "bulletList",
    "orderedList",
    "listItem",
    "taskList",
    "taskItem",
    "decisionList",
    "decisionItem",
    "table",
    "tableRow",
    "tableCell",
    "expand",
    "panel",
    "media",
    "mediaSingle",
    "inlineCard",
    "blockCard",
    "embedCard",
    "mention",
    "emoji",
    "status",
    "date",
    "rule",
    "extension",
    "bodiedExtension",
    "inlineExtension",
    "layoutSection",
    "codeBlock",
    "hardBreak",
    "placeholder",
    "invention",
    "another",
]
WORDS = st.integers(10**6, 10**7).map(lambda number: f"w{number}")
TREES = st.recursive(
    WORDS.map(lambda word: {"type": "text", "text": word})
    | st.builds(
        lambda word, name: {"type": "invention", "attrs": {name: word}}, WORDS, st.sampled_from(["text", "title"])
    ),
    lambda inner: st.builds(
        lambda kind, content: {"type": kind, "content": content}, st.sampled_from(KINDS), st.lists(inner, max_size=4)
    ),
    max_leaves=12,
)


@given(TREES)
def test_no_text_of_a_document_is_lost_however_it_is_nested(tree: dict[str, Any]) -> None:
    found = adf.plain({"type": "doc", "content": [tree]})
    assert [word for word in re.findall(r"w[0-9]{7}", json.dumps(tree)) if word not in found] == []


@pytest.mark.parametrize("kinds", [("blockquote",), ("bulletList", "listItem"), ("taskList",), ("table", "tableRow")])
def test_blocks_in_blocks_are_read_however_deep_a_document_may_be(kinds: tuple[str, ...]) -> None:
    inner = paragraph(text("x"))
    for level in range(120):
        inner = node(kinds[level % len(kinds)], inner)
    assert adf.plain({"type": "doc", "content": [inner]}).endswith("x")


@pytest.mark.parametrize(
    ("markup", "expected"),
    [
        ("plain", "plain"),
        ("h1. Title\r\n\r\nwords", "Title\n\nwords"),
        (
            "some *bold*, _slanted_, -struck-, +under+, ^up^, ~down~, ??cited??",
            "some bold, slanted, struck, under, up, down, cited",
        ),
        ("*bold _and slanted_*", "bold and slanted"),
        ("{*}old{*}er", "older"),
        ("{{mono_spaced_}}", "mono_spaced_"),
        ("snake_case_name 2*3*4 well-known-word C++ and D++", "snake_case_name 2*3*4 well-known-word C++ and D++"),
        ("from -1 to -5, a - b - c", "from -1 to -5, a - b - c"),
        ("* a\n** b\n# c\n- d", "- a\n  - b\n1. c\n- d"),
        ("a\n----\nb", "a\n\nb"),
        ("||h||i||\n|a|[x|https://a.example]|", "h | i\na | x (https://a.example)"),
        (
            "[https://a.example] [mailto:a@b.example] [x|https://a.example|smart-link]",
            "https://a.example a@b.example x (https://a.example)",
        ),
        ("[~ann] [~accountid:557058:1a-2b]", "@ann @557058:1a-2b"),
        ("[TODO] a[0] [x]", "[TODO] a[0] [x]"),
        ("!a b.png|thumbnail! stop! now!", "a b.png stop! now!"),
        ("{code:java}\nint *a* = b[0];\n{code}\n*after*", "int *a* = b[0];\n\nafter"),
        ("{noformat}*as it is*", "*as it is*"),
        ("{color:#ff0000}red{color} {panel}in{panel} {quote}q{quote}", "red in q"),
        ("see https://g.example/a/-/issues/1 and https://g.example/a/-/issues/2",) * 2,
        (
            "[a|https://g.example/a/-/issues/1] [b|https://g.example/a/-/issues/2]",
            "a (https://g.example/a/-/issues/1) b (https://g.example/a/-/issues/2)",
        ),
        ("https://h.example/a?b=*c*&d=_e_",) * 2,
        ("_https://h.example/a_b_, *https://x.example*", "https://h.example/a_b, https://x.example"),
        (
            "*see https://h.example/a* and -https://h.example/-/b-.",
            "see https://h.example/a and https://h.example/-/b.",
        ),
        (
            "www.h.example/_a_ ftp://h.example/*b* mailto:a_b_@h.example",
            "www.h.example/_a_ ftp://h.example/*b* mailto:a_b_@h.example",
        ),
        ("|https://h.example/a_b|https://h.example/c_d|", "https://h.example/a_b | https://h.example/c_d"),
        ("{color:red}https://h.example/a_{color}b", "https://h.example/a_b"),
        ("[*bold* text|https://h.example/_a_|a tip]", "bold text (https://h.example/_a_, a tip)"),
        (
            "[https://h.example/_a_|https://h.example/_a_|smart-card] [https://h.example|smart-link]",
            "https://h.example/_a_ https://h.example",
        ),
        ("[^my_file_.txt] and [the file|^a_b_.txt] [#top]", "my_file_.txt and the file (^a_b_.txt) top"),
        ("[~a_b] [~_c_]", "@a_b @_c_"),
        ("[a page|Space:Page]", "a page (Space:Page)"),
        ("[nowhere|SUP-1]", "[nowhere|SUP-1]"),
        ("!https://h.example/_a_?id=3! !a_b_.png|width=3,alt=A plan!", "https://h.example/_a_?id=3 a_b_.png (A plan)"),
        ("{panel:title=Cause}disk{panel}", "Cause\ndisk"),
        ("{panel:borderStyle=dashed|title=The *cause*|bgColor=#fff}\ndisk\n{panel}", "The cause\ndisk"),
        ("{expand:title=Details}in{expand} {expand:More}out{expand}", "Details\nin More\nout"),
        ("{code:java|title=Foo.java}x{code}", "Foo.java\nx"),
        ("{noformat:title=log_1_}\n*x*{noformat}", "log_1_\n*x*"),
        ("{info:title=Note}a{info}{warning}b{warning}", "Note\nab"),
        ("{unknown:title=x}kept{unknown}", "{unknown:title=x}kept{unknown}"),
        ('{adf:display=block}\n{"type":"blockCard","attrs":{"url":"https://h.example"}}\n{adf}', "https://h.example"),
        ("{adf}no json{adf}", "no json"),
        ("# one\n# two\n## in\n## in\n# three\n\n# one", "1. one\n2. two\n  1. in\n  2. in\n3. three\n\n1. one"),
        ("a\n#* b\n#* c", "a\n  - b\n  - c"),
        ("{{a_b_ *c*}} and {{\\{x\\}}}", "a_b_ *c* and {x}"),
        ("a/-/b and c/-/d, a=_b_", "a/-/b and c/-/d, a=_b_"),
        ("\\\\server\\share\\a", "\\\\server\\share\\a"),
        (r"|a\|b|c|", "a|b | c"),
        ("||h||\n|-1|", "h\n-1"),
        ("\ue0000\ue001 *x*", "\ue0000\ue001 x"),
        ("one\\\\two", "one\ntwo"),
        (r"\*not bold\* \[x]", "*not bold* [x]"),
        (r"use \{code} or \{color:red} here", "use {code} or {color:red} here"),
        (r"\[a|https://a.example] \!a.png! \{{m}}", "[a|https://a.example] !a.png! {{m}}"),
        (r"one\\{quote}two{quote}", "one\ntwo"),
        ('{"json": {"a": 1}}', '{"json": {"a": 1}}'),
    ],
)
def test_wiki_markup_is_removed_and_its_words_stay(markup: str, expected: str) -> None:
    assert wiki.plain(markup) == expected


@given(st.text(st.sampled_from("abcXYZ09/?=&%*_-+^~#.@"), max_size=60))
def test_a_url_is_kept_whatever_it_contains(path: str) -> None:
    url = f"https://h.example/{path}"
    assert wiki.plain(f"see {url} and [that|{url}]\n* {url}") == f"see {url} and that ({url})\n- {url}"


@given(st.text(st.sampled_from("ab *_-+^~?{}[]|!\\#\n:.h1"), max_size=60))
def test_any_markup_can_be_converted(markup: str) -> None:
    assert len(wiki.plain(markup)) <= len(markup) + 4 * (markup.count("#") + markup.count("*") + markup.count("|")) + 60


@pytest.mark.parametrize(
    "piece",
    [
        "-a ",
        "*a ",
        "[",
        "[a|",
        "{{a ",
        "{",
        "{code:x}",
        "{*}a",
        "| ",
        "_a",
        "\n",
        "!a.",
        "\\\\a",
        "http://a_ ",
        "_http://a",
        "[a|b:c|d]",
        "# ",
        "\ue000",
    ],
)
def test_long_texts_of_markup_take_no_longer_than_others(piece: str) -> None:
    assert len(wiki.plain(piece * 20_000)) <= len(piece) * 20_000 + 40_000


def test_rich_text_is_read_in_either_format_and_its_source_is_kept() -> None:
    report = Report()
    document = {"type": "doc", "version": 1, "content": [paragraph(text("x"))]}
    assert values.plain_text(document, "d", report) == "x"
    assert values.plain_text("*x*", "d", report) == "x"
    assert values.plain_text(None, "d", report) is None
    assert (values.as_written("*x*"), values.as_written(None)) == ("*x*", None)
    assert str(values.as_written({"b": 1, "a": 2})) == '{"a":2,"b":1}'
    assert report.misshapen == {}
    assert values.plain_text(["x"], "d", report) is None
    assert report.misshapen == {"d": 1}
