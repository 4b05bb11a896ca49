import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyst.http.application import router
from analyst.http.spec import Template
from tests.all_functions import FUNCTIONS


@pytest.mark.parametrize(
    ("template", "path", "parts"),
    [
        ("/api/users", "/api/users", {}),
        ("/api/users", "/api/users/", None),
        ("/api/users", "/api/usersx", None),
        ("/api/users/{id}", "/api/users/7", {"id": "7"}),
        ("/api/users/{id}", "/api/users/", None),
        ("/api/users/{id}", "/api/users/7/8", None),
        ("/api/users/{id}", "/api/users/7\n", {"id": "7\n"}),
        ("/api/data/{table_id}/download", "/api/data/shop.orders/download", {"table_id": "shop.orders"}),
        ("/files/{path:path}", "/files/a/b.parquet", {"path": "a/b.parquet"}),
        ("/files/{path:path}", "/files/", None),
        ("/openapi.json", "/openapixjson", None),
    ],
)
def test_a_template_extracts_its_parts_from_a_path(template: str, path: str, parts: dict[str, str] | None) -> None:
    assert Template.parse(template).match(path) == parts


@pytest.mark.parametrize("text", ["users", "", "/{", "/{a}{", "/{A}", "/{a}/{a}", "/{a:int}", "/a b", "/a?b", "/č"])
def test_an_invalid_template_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a valid path template"):
        Template.parse(text)


def test_spanning_parts_are_plain_parameters_in_openapi() -> None:
    template = Template.parse("/files/{path:path}")
    assert template.text == "/files/{path}"
    assert template.spanning == {"path"}


def test_templates_of_the_same_shape_match_the_same_paths() -> None:
    assert Template.parse("/users/{id}").shape == Template.parse("/users/{user}").shape
    assert Template.parse("/users/{id}").shape != Template.parse("/users/{id:path}").shape


def test_the_most_literal_template_comes_first() -> None:
    texts = ["/a/{x:path}", "/a/{x}/c", "/a/{x}/{y}", "/a/b/c"]
    in_order = sorted(map(Template.parse, texts), key=lambda template: template.order)
    assert [template.text for template in in_order] == ["/a/b/c", "/a/{x}/c", "/a/{x}/{y}", "/a/{x}"]


@given(st.text(st.characters(exclude_characters="/", exclude_categories=["Cs"]), min_size=1))
def test_any_text_without_a_slash_fits_in_a_part(text: str) -> None:
    assert Template.parse("/a/{x}/b").match(f"/a/{text}/b") == {"x": text}


ROUTES = router(FUNCTIONS)
SEGMENTS = sorted({part for spec in ROUTES.functions for part in spec.path.shape.split("/")[1:]} | {"", "x", "x.json"})


@given(st.lists(st.sampled_from(SEGMENTS), max_size=6).map(lambda parts: "/".join(["", *parts])))
def test_every_function_that_matches_a_path_is_a_candidate(path: str) -> None:
    path = path.replace("{*}", "a/b").replace("{}", "a")
    every = [spec.name for spec in ROUTES.functions if spec.path.match(path) is not None]
    assert [spec.name for spec in ROUTES._candidates(path) if spec.path.match(path) is not None] == every


def test_unknown_paths_are_not_remembered() -> None:
    for number in range(1000):
        ROUTES._candidates(f"/unknown-{number}/unknown-{number}")
    assert len(ROUTES._starting) < 500
