"""Access lists and callers of all kinds, for properties that hold for each of them."""

from datetime import UTC, datetime

from hypothesis import strategies as st

from analyst.access import AccessList, Caller, Granted, Grants, Registration, Role

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
PEOPLE = ("ann", "bob", "eve")
TEAMS = ("sales", "ops")
SOURCES = ("shop", "crm")
BUCKETS = (None, "in", "out")


def registration(
    id_: str, *, bucket: str | None = None, public: bool = False, server_only: bool = False
) -> Registration:
    """Make a registered table, whose uuid tells its id."""
    source, _, name = id_.partition(".")
    return Registration(
        uuid=f"uuid of {id_}",
        source=source,
        name=name,
        bucket=bucket,
        is_public=public,
        server_only=server_only,
        registered_at=NOW,
    )


tables = st.dictionaries(
    st.builds("{}.{}".format, st.sampled_from(SOURCES), st.sampled_from("abcd")),
    st.tuples(st.sampled_from(BUCKETS), st.booleans(), st.booleans()),
)
places = st.tuples(st.sampled_from(SOURCES), st.sampled_from(BUCKETS))
uuids = st.builds("uuid of {}.{}".format, st.sampled_from(SOURCES), st.sampled_from("abcde"))
granted = st.builds(
    Granted, tables=st.lists(uuids, max_size=3).map(tuple), places=st.lists(places, max_size=2).map(tuple)
)
grants = st.builds(
    Grants,
    users=st.dictionaries(st.sampled_from(PEOPLE), granted),
    groups=st.dictionaries(st.sampled_from(TEAMS), granted),
)
callers = st.builds(
    Caller,
    st.sampled_from((*PEOPLE, None)),
    st.just(None),
    st.sampled_from(Role),
    st.frozensets(st.sampled_from(TEAMS)),
)


@st.composite
def access_lists(draw: st.DrawFn) -> AccessList:
    """Draw a list."""
    drawn = draw(tables)
    return AccessList(
        tables={
            id_: registration(id_, bucket=bucket, public=public, server_only=kept)
            for id_, (bucket, public, kept) in drawn.items()
        },
        grants=draw(grants),
    )
