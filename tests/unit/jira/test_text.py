"""Rich text, as ADF and as wiki markup, becomes plain text."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from functions.extract.jira.transform import adf, rich_text, wiki
from functions.extract.jira.transform.report import Report


def text(words: str, *marks: Any) -> dict[str, Any]:
    return {"type": "text", "text": words, "marks": list(marks)}


def node(kind: str, *content: Any, **attrs: Any) -> dict[str, Any]:
    return {"type": kind, "content": list(content), "attrs": attrs}


def paragraph(*content: Any) -> dict[str, Any]:
    return node("paragraph", *content)


def item(words: str, *more: Any) -> dict[str, Any]:
    return node("listItem", paragraph(text(words)), *more)


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
        ([text("bare"), {"type": 7, "content": "x"}, "no node", None, [1]], "bare"),
    ],
)
def test_blocks_of_adf_become_lines(content: list[Any], expected: str) -> None:
    assert adf.plain({"type": "doc", "version": 1, "content": content}) == expected


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
        ("{color:#ff0000}red{color} {panel:title=x}in{panel} {quote}q{quote}", "red in q"),
        ("one\\\\two", "one\ntwo"),
        (r"\*not bold\* \[x]", "*not bold* [x]"),
        ('{"json": {"a": 1}}', '{"json": {"a": 1}}'),
    ],
)
def test_marks_of_wiki_markup_go_and_words_stay(markup: str, expected: str) -> None:
    assert wiki.plain(markup) == expected


@given(st.text(st.sampled_from("ab *_-+^~?{}[]|!\\#\n:.h1"), max_size=60))
def test_any_markup_can_be_read(markup: str) -> None:
    assert len(wiki.plain(markup)) <= len(markup) + 4 * (markup.count("#") + markup.count("*") + markup.count("|")) + 60


@pytest.mark.parametrize("piece", ["-a ", "*a ", "[", "[a|", "{{a ", "{", "{code:x}", "{*}a", "| ", "_a", "\n", "!a."])
def test_long_texts_of_marks_take_no_longer_than_others(piece: str) -> None:
    assert len(wiki.plain(piece * 20_000)) <= len(piece) * 20_000 + 40_000


def test_rich_text_is_whichever_it_is_and_its_source_is_kept() -> None:
    report = Report()
    document = {"type": "doc", "version": 1, "content": [paragraph(text("x"))]}
    assert rich_text.plain(document, "d", report) == "x"
    assert rich_text.plain("*x*", "d", report) == "x"
    assert rich_text.plain(None, "d", report) is None
    assert (rich_text.source("*x*"), rich_text.source(None)) == ("*x*", None)
    assert str(rich_text.source({"b": 1, "a": 2})) == '{"a":2,"b":1}'
    assert report.misshapen == {}
    assert rich_text.plain(["x"], "d", report) is None
    assert report.misshapen == {"d": 1}
