"""No statement made at random escapes, crashes the server, or fails with one of its errors."""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.integration.query.generated import statements
from tests.integration.query.shop import Shop, open_shop
from tests.integration.query.test_hostile import filled
from tests.integration.world import Begun

pytestmark = [pytest.mark.server, pytest.mark.slow]

COUNT = int(os.environ.get("GENERATED_STATEMENTS", "250"))
"""`make e2e` asks for 20,000."""


@pytest.fixture(scope="module")
def served(begun: Begun, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    with open_shop(
        tmp_path_factory.mktemp("shop"), begun, QUERY_MEMORY="300MB", QUERY_TIMEOUT="2", QUERY_WORKERS="3"
    ) as each:
        yield each


def test_no_generated_statement_reveals_a_secret(served: Shop) -> None:
    def wrong(statement: str) -> str | None:
        sql = filled(served, statement)
        answer = served.ask(sql or " ")
        if answer.status_code not in {200, 400, 422}:
            return f"{answer.status_code}: {sql!r}: {answer.text}"
        text = answer.text.replace(sql, "")
        leaks = [each for each in served.secrets if each in text and each.lower() not in sql.lower()]
        return f"{leaks}: {sql!r}: {text}" if leaks else None

    with ThreadPoolExecutor(2) as threads:
        found = [each for each in threads.map(wrong, statements(20261129, COUNT)) if each]
    assert not found, "\n".join(found)
    assert served.ask("select count(*) from orders").get_json()["rows"] == [[100]]
