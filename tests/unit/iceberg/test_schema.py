"""DuckDB types as Iceberg types, ids that stay, the mapping of names, and the values of statistics."""

from typing import Any

import pytest

from analyst.catalog import Column
from analyst.iceberg.schema import UnsupportedTypeError, bound, name_mapping, schema_fields, with_docs


def type_of(kind: str) -> Any:
    [field], _ids = schema_fields([Column(name="c", type=kind)], {})
    return field["type"]


@pytest.mark.parametrize(
    ("kind", "wanted"),
    [
        ("BOOLEAN", "boolean"),
        ("TINYINT", "int"),
        ("SMALLINT", "int"),
        ("INTEGER", "int"),
        ("UTINYINT", "int"),
        ("USMALLINT", "int"),
        ("UINTEGER", "long"),
        ("BIGINT", "long"),
        ("FLOAT", "float"),
        ("DOUBLE", "double"),
        ("DECIMAL(10,2)", "decimal(10, 2)"),
        ("DECIMAL(38,0)", "decimal(38, 0)"),
        ("VARCHAR", "string"),
        ("JSON", "string"),
        ("ENUM('a', 'b)', 'it''s')", "string"),
        ("BLOB", "binary"),
        ("DATE", "date"),
        ("TIME", "time"),
        ("UUID", "uuid"),
        ("TIMESTAMP", "timestamp"),
        ("TIMESTAMP_S", "timestamp"),
        ("TIMESTAMP_MS", "timestamp"),
        ("TIMESTAMP WITH TIME ZONE", "timestamptz"),
        ("TIMESTAMPTZ", "timestamptz"),
    ],
)
def test_simple_types_are_converted(kind: str, wanted: str) -> None:
    assert type_of(kind) == wanted
    listed = type_of(f"{kind}[]")
    assert (listed["type"], listed["element"]) == ("list", wanted)
    assert type_of(f"{kind}[3]") == listed


@pytest.mark.parametrize(
    "kind",
    [
        "HUGEINT", "UHUGEINT", "UBIGINT", "TIMESTAMP_NS", "TIME WITH TIME ZONE", "INTERVAL", "BIT", "BIGNUM", "VARIANT",
        "UNION(a INTEGER, b VARCHAR)", "GEOMETRY", "INTERVAL[]", "STRUCT(a INTEGER, b BIT)", "MAP(VARCHAR, HUGEINT)",
        "", "STRUCT(", "INTEGER]", "INTEGER; drop table x", "INTEGER[" * 5000, "STRUCT(a " * 5000,
    ],
)  # fmt: skip
def test_other_types_are_reported_with_their_columns(kind: str) -> None:
    columns = [Column(name="fine", type="INTEGER"), Column(name="odd", type=kind)]
    with pytest.raises(UnsupportedTypeError) as error:
        schema_fields(columns, {})
    assert "'odd'" in str(error.value)
    assert "'fine'" not in str(error.value)


def test_nested_types_have_ids_at_every_level() -> None:
    columns = [
        Column(name="s", type='STRUCT(a INTEGER, "b c" STRUCT("x""y" DATE)[])'),
        Column(name="m", type="MAP(VARCHAR, DECIMAL(4,1)[])"),
    ]
    fields, ids = schema_fields(columns, {})
    assert fields == [
        {
            "id": 1, "name": "s", "required": False,
            "type": {
                "type": "struct",
                "fields": [
                    {"id": 2, "name": "a", "required": False, "type": "int"},
                    {
                        "id": 3, "name": "b c", "required": False,
                        "type": {
                            "type": "list", "element-id": 4, "element-required": False,
                            "element": {
                                "type": "struct",
                                "fields": [{"id": 5, "name": 'x"y', "required": False, "type": "date"}],
                            },
                        },
                    },
                ],
            },
        },
        {
            "id": 6, "name": "m", "required": False,
            "type": {
                "type": "map", "key-id": 7, "key": "string", "value-id": 8, "value-required": False,
                "value": {"type": "list", "element-id": 9, "element-required": False, "element": "decimal(4, 1)"},
            },
        },
    ]  # fmt: skip
    assert sorted(ids.values()) == list(range(1, 10))
    struct = {
        "field-id": 3, "names": ["b c"],
        "fields": [{"field-id": 4, "names": ["element"], "fields": [{"field-id": 5, "names": ['x"y']}]}],
    }  # fmt: skip
    assert name_mapping(ids) == [
        {"field-id": 1, "names": ["s"], "fields": [{"field-id": 2, "names": ["a"]}, struct]},
        {
            "field-id": 6, "names": ["m"],
            "fields": [
                {"field-id": 7, "names": ["key"]},
                {"field-id": 8, "names": ["value"], "fields": [{"field-id": 9, "names": ["element"]}]},
            ],
        },
    ]  # fmt: skip


def test_a_name_keeps_its_id() -> None:
    first, ids = schema_fields([Column(name="a", type="INTEGER"), Column(name="b", type="VARCHAR")], {})
    second, ids = schema_fields([Column(name="b", type="DATE"), Column(name="c", type="DATE")], ids)
    third, ids = schema_fields([Column(name="c", type="DATE"), Column(name="a", type="BIGINT")], ids)
    assert [[(field["name"], field["id"]) for field in fields] for fields in (first, second, third)] == [
        [("a", 1), ("b", 2)],
        [("b", 2), ("c", 3)],
        [("c", 3), ("a", 1)],
    ]
    assert [each["names"] for each in name_mapping(ids)] == [["a"], ["b"], ["c"]]


def test_a_member_named_element_is_not_taken_for_a_list_element() -> None:
    columns = [Column(name="a", type="STRUCT(element INTEGER)"), Column(name="a.element", type="INTEGER")]
    _fields, ids = schema_fields(columns, {})
    assert len(set(ids.values())) == len(ids) == 3


def test_descriptions_are_comments() -> None:
    columns = [Column(name="a", type="INTEGER", description="Its number."), Column(name="b", type="INTEGER")]
    fields, _ids = schema_fields(columns, {})
    assert [field.get("doc") for field in with_docs(fields, columns)] == ["Its number.", None]


@pytest.mark.parametrize(
    ("kind", "value", "wanted"),
    [
        ("int", -1, b"\xff\xff\xff\xff"),
        ("long", 258, b"\x02\x01\0\0\0\0\0\0"),
        ("string", "\u010d", b"\xc4\x8d"),
        ("date", "1970-01-02", b"\x01\0\0\0"),
        ("date", "1969-12-31", b"\xff\xff\xff\xff"),
        ("timestamp", "1970-01-01T00:00:00.000001", b"\x01\0\0\0\0\0\0\0"),
        ("timestamp", "1969-12-31T23:59:59.999999", b"\xff" * 8),
        ("timestamptz", "1970-01-01T00:00:00.000002Z", b"\x02\0\0\0\0\0\0\0"),
        ("int", 1 << 40, None),
        ("date", "10000-01-01", None),
        ("timestamp", "infinity", None),
        ("double", 1.5, None),
        ("decimal(4, 1)", "1.5", None),
        ({"type": "struct", "fields": []}, 1, None),
        ("long", None, None),
    ],
)
def test_bounds_are_encoded_by_type(kind: Any, value: Any, wanted: bytes | None) -> None:
    assert bound(kind, value) == wanted
