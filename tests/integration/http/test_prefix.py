"""A server whose address has a path (`BASE_URL=https://host/data`): behind a proxy that removes it, and one that leaves it."""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode, urljoin, urlsplit

import pytest
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from werkzeug.datastructures import Headers
from werkzeug.test import Client, EnvironBuilder, TestResponse
from werkzeug.wrappers import Request, Response

from analyst.auth import sessions
from analyst.errors import InvalidInputError, UnavailableError
from analyst.http.application import router
from analyst.http.dispatch import refuse
from analyst.http.problems import TooLargeError
from tests.all_functions import FUNCTIONS
from tests.integration.pages.conftest import HTML
from tests.integration.world import Begun, World
from tests.processes import Host, da, free_port, served

PREFIX = "/team/data"
ROUTES = router(FUNCTIONS)
ORDERS = "/iceberg/v1/namespaces/shop/tables/orders"


def proxied(world: World, *, removes: bool) -> Callable[..., Any]:
    """Pass on what is below the prefix, and what clients of OAuth ask at the root of the host."""

    def proxy(environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        path = environ["PATH_INFO"]
        if path.startswith("/.well-known/"):
            return world.app(environ, start_response)
        if path != PREFIX and not path.startswith(f"{PREFIX}/"):
            start_response("404 Not Found", [("Content-Type", "text/plain")])
            return [b"the proxy has nothing here"]
        return world.app(
            {**environ, "PATH_INFO": path.removeprefix(PREFIX) or "/"} if removes else environ, start_response
        )

    return proxy


@dataclass(frozen=True, slots=True)
class Mounted:
    """A world behind a proxy on loopback, and a browser and a token of Ann."""

    world: World
    host: Host
    client: Client
    token: str

    def get(self, path: str, **headers: str) -> TestResponse:
        return self.client.get(path, headers={"Accept": HTML, **headers}, base_url=self.origin, buffered=True)

    def post(self, path: str, **form: str) -> TestResponse:
        headers = {"Accept": HTML, "Origin": self.origin}
        return self.client.post(path, data=form, headers=headers, base_url=self.origin, buffered=True)

    @property
    def origin(self) -> str:
        return self.host.url.removesuffix(PREFIX)


@pytest.fixture(scope="module", params=[True, False], ids=["removed", "left"])
def mounted(
    request: pytest.FixtureRequest, begun: Begun, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Mounted]:
    folder, port = tmp_path_factory.mktemp("prefix"), free_port()
    url = f"http://127.0.0.1:{port}{PREFIX}"
    world = begun.world(folder, base_url=url, variables={"SECRET_KEY": "s" * 40})
    shop = Path(folder, "sources", "shop")
    shop.mkdir(parents=True)
    (shop / "orders.csv").write_text("id,amount\n1,10\n2,20\n")
    world.ask("POST", "/api/admin/sources/shop", {"type": "csv", "config": {"path": str(shop)}})
    world.ask("POST", "/extract/csv", {"source": "shop"})
    user = world.ask("POST", "/api/users", {"email": "ann@example.com", "role": "km_admin"})
    world.ask("POST", "/api/admin/permissions", {"user": "ann@example.com", "source": "shop"})
    token = world.ask("POST", "/auth/tokens", {"name": "x", "user": "ann@example.com"})["token"]
    application = proxied(world, removes=request.param)
    client, now = Client(application), world.process.clock()
    session = sessions.begin(user["id"], now)
    client.set_cookie("da_session", sessions.for_browser(world.process.keys, session, now), domain="127.0.0.1")
    with served(application, port):
        yield Mounted(world, Host(url), client, token)
    world.process.close()


class Addresses(HTMLParser):
    """Where the elements of a page lead: those that a click, or the page itself, opens, and those of forms."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.opened, self.sent = set[str](), set[str]()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.opened |= {value for name in ("href", "src", "data-address") if (value := given.get(name))}
        places = (given.get("action"), given.get("formaction"))
        (self.opened if tag == "form" and given.get("method") != "post" else self.sent).update(filter(None, places))


def test_every_address_on_every_page_is_below_the_prefix(mounted: Mounted) -> None:
    waiting, seen = [f"{PREFIX}/", f"{PREFIX}/docs"], set[str]()
    while waiting:
        path = waiting.pop()
        if (path := path.partition("#")[0]) in seen:
            continue
        seen.add(path)
        answer = mounted.get(path)
        assert answer.status_code == 200, (path, answer.status_code, answer.text[:300])
        if answer.mimetype != "text/html":
            continue
        found = Addresses(answer.text)
        for address in found.opened | found.sent:
            whole = urlsplit(urljoin(mounted.origin + path, address))
            assert whole.scheme == "data" or f"{whole.path}/".startswith(f"{PREFIX}/"), (path, address)
        shapes = {
            re.sub(r"[?&].*", "", address): address for address in found.opened if not address.startswith("data:")
        }
        waiting += [urlsplit(urljoin(mounted.origin + path, each)).path for each in shapes.values()]
    assert {f"{PREFIX}{path}" for path in ("/", "/catalog", "/tables/shop/orders", "/account", "/index.json")} <= seen
    assert len(seen) > 20


def test_redirects_forms_and_errors_stay_below_the_prefix(mounted: Mounted) -> None:
    stranger = Client(proxied(mounted.world, removes=True))
    sent = stranger.get(f"{PREFIX}/account?done=x", headers={"Accept": HTML}, base_url=mounted.origin)
    assert sent.headers["Location"] == f"{PREFIX}/login?{urlencode({'next': '/account?done=x'})}"
    described = mounted.post(f"{PREFIX}/tables/shop/orders/description", description="What was bought.")
    assert (described.status_code, described.headers["Location"]) == (
        303,
        f"{PREFIX}/tables/shop/orders?done=described",
    )
    came_from = f"{mounted.origin}{PREFIX}/tables/shop/orders"
    for referrer, back in ((came_from, f"{PREFIX}/tables/shop/orders"), (f"{mounted.origin}/other", f"{PREFIX}/")):
        headers = {"Accept": HTML, "Origin": mounted.origin, "Referer": referrer}
        form = {"tags": "x" * 30_000}
        refused = mounted.client.post(
            f"{PREFIX}/tables/shop/orders/description", data=form, headers=headers, base_url=mounted.origin
        )
        assert refused.status_code == 422
        assert f'href="{back}"' in refused.text
    ended = stranger.post(
        f"{PREFIX}/tables/shop/orders/description",
        data={"description": "kept"},
        headers={"Accept": HTML, "Origin": mounted.origin, "Referer": came_from},
        base_url=mounted.origin,
    )
    assert f'action="{PREFIX}/tables/shop/orders/description"' in ended.text
    assert f'action="{PREFIX}/' in mounted.get(f"{PREFIX}/nowhere").text


@pytest.mark.parametrize("removes", [True, False])
def test_refusals_of_the_server_have_the_prefix_too(begun: Begun, tmp_path: Path, removes: bool) -> None:
    world = begun.world(tmp_path, base_url=f"http://localhost{PREFIX}")
    below = "" if removes else PREFIX

    def refused(path: str, **headers: str) -> Response:
        request = EnvironBuilder(
            below + path, method="POST", base_url="http://localhost", headers=Headers(headers)
        ).get_request()
        return refuse(request, TooLargeError("the body is too large", limit=1), world.process, ROUTES)

    came_from = f"http://localhost{PREFIX}/tables/shop/orders"
    page = refused("/tables/shop/orders/description", Accept=HTML, Referer=came_from).get_data(as_text=True)
    assert f'href="{PREFIX}/tables/shop/orders"' in page
    assert f"{PREFIX}{PREFIX}" not in page
    assert refused("/iceberg/v1/config").get_json()["error"]["type"]
    world.process.close()


def test_a_path_that_looks_like_another_host_does_not_become_a_link_to_it(begun: Begun, tmp_path: Path) -> None:
    world = begun.world(tmp_path, base_url=f"http://localhost{PREFIX}")
    request = EnvironBuilder(f"{PREFIX}//elsewhere.example.com/", headers=[("Accept", HTML)]).get_request()
    page = refuse(request, UnavailableError("busy"), world.process, ROUTES).get_data(as_text=True)
    assert f'href="{PREFIX}/elsewhere.example.com/"' in page
    assert 'href="//' not in page
    client = Client(world.app)
    sent = [
        client.get(f"http://localhost{path}/account", headers={"Accept": HTML}) for path in ("", PREFIX, f"{PREFIX}/")
    ]
    assert {each.headers["Location"] for each in sent} == {f"{PREFIX}/login?next=%2Faccount"}
    assert client.get(f"http://localhost{PREFIX}{PREFIX}/account", headers={"Accept": HTML}).status_code == 404
    world.process.close()


def test_signed_files_are_downloaded(mounted: Mounted, tmp_path: Path) -> None:
    signed = mounted.host.ask("POST", "/api/data/urls", {"files": {"shop.orders": None}}, token=mounted.token)[1][
        "urls"
    ]
    (url,) = signed.values()
    assert url.startswith(f"{mounted.host.url}/")
    assert mounted.get(url.removeprefix(mounted.origin)).data[:4] == b"PAR1"
    place = "/delta-sharing/shares/data/schemas/shop/tables/orders/query"
    shared = mounted.host.ask("POST", place, {}, token=mounted.token)[1]
    (file,) = [json.loads(line)["file"]["url"] for line in shared.splitlines() if b'"file"' in line]
    assert mounted.get(file.removeprefix(mounted.origin)).data[:4] == b"PAR1"
    assert "Updated shop.orders" in da(tmp_path, "sync", server=mounted.host, token=mounted.token).stdout
    counted = da(
        tmp_path, "query", "select sum(amount) as n from shop.orders", server=mounted.host, token=mounted.token
    )
    assert "30" in counted.stdout
    remote = da(tmp_path, "query", "--scope", "server", "from orders", server=mounted.host, token=mounted.token)
    assert "20" in remote.stdout
    wrong = da(tmp_path, "explore", "shop.nothing", server=mounted.host, token=mounted.token, check=False)
    assert "shop.nothing" in wrong.stderr
    assert "nothing is served" not in wrong.stderr


def test_the_files_of_an_iceberg_table_are_read(mounted: Mounted) -> None:
    found = mounted.host.ask("GET", ORDERS, token=mounted.token)[1]
    config = found["config"]
    assert config["s3.endpoint"] == mounted.host.url
    path = f"{PREFIX}/{quote(found['metadata-location'].removeprefix('s3://'), safe='/~')}"
    request = AWSRequest("GET", mounted.origin + path)
    names = ("s3.access-key-id", "s3.secret-access-key", "s3.session-token")
    S3SigV4Auth(Credentials(*(config[name] for name in names)), "s3", config["s3.region"]).add_auth(request)
    answer = mounted.client.get(path, headers=dict(request.headers.items()), base_url=mounted.origin, buffered=True)
    assert answer.status_code == 200, answer.text
    assert json.loads(answer.data)["current-snapshot-id"] == found["metadata"]["current-snapshot-id"]


def test_clients_of_oauth_find_the_server(mounted: Mounted) -> None:
    """They look at the root of the host, with the path behind `/.well-known/…` (RFC 8414 and RFC 9728, section 3.1)."""
    stranger = Client(mounted.client.application)
    challenge = stranger.post(f"{PREFIX}/mcp", json={}, base_url=mounted.origin).headers["WWW-Authenticate"]
    metadata = re.search(r'resource_metadata="([^"]+)"', challenge)
    assert metadata is not None
    places = (metadata[1].removeprefix(mounted.origin), f"/.well-known/oauth-protected-resource{PREFIX}/mcp")
    for place in (*places, f"/.well-known/oauth-protected-resource{PREFIX}"):
        found = mounted.get(place).get_json()
        assert (found["resource"], found["authorization_servers"]) == (f"{mounted.host.url}/mcp", [mounted.host.url]), (
            place
        )
    for place in (
        f"/.well-known/oauth-authorization-server{PREFIX}",
        f"{PREFIX}/.well-known/oauth-authorization-server",
    ):
        about = mounted.get(place).get_json()
        assert about["issuer"] == mounted.host.url
        assert about["token_endpoint"] == f"{mounted.host.url}/oauth/token"
    for place in ("/.well-known/oauth-protected-resource/mcp2", "/.well-known/oauth-authorization-server/team"):
        assert mounted.get(place).status_code == 404


@pytest.mark.parametrize("path", ["/iceberg/v1/config", "/delta-sharing/shares", "/api/health"])
def test_refusals_of_the_server_have_the_error_shape_of_their_path(mounted: Mounted, path: str) -> None:
    """Before a request reaches a function, such as one that is too large."""
    documents = []
    for asked in (path, PREFIX + path):
        request = Request(EnvironBuilder(asked, headers=[("X-Request-Id", "x")]).get_environ())
        documents.append(refuse(request, InvalidInputError("no"), mounted.world.process, ROUTES).get_json())
    assert documents[0] == documents[1]


def test_a_path_whose_prefix_the_proxy_removed_is_not_shortened_again(mounted: Mounted) -> None:
    """Or `/data/data/login` would lead past the rules of the proxy for `/data/login`."""
    client = Client(mounted.world.app)
    for prefix, status in ((PREFIX, 404), (f"{PREFIX}/", 404), ("/other", 200)):
        headers = {"Accept": HTML, "X-Forwarded-Prefix": prefix}
        assert client.get(f"{PREFIX}/login", headers=headers).status_code == status
        assert client.get("/login", headers=headers).status_code == 200


def test_a_prefix_may_also_be_a_path_of_the_server(begun: Begun, tmp_path: Path) -> None:
    """Where a function has the path of a request, the proxy has removed the prefix."""
    world = begun.world(tmp_path, base_url="http://localhost/api")
    client = Client(world.app)
    assert client.get("/api/health").status_code == 200
    assert client.get("/health").status_code == 404
    assert client.get("/api/login", headers={"Accept": HTML}).text.count('href="/api/') > 1
    world.process.close()
