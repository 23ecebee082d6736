"""Swagger UI in a real browser logs people in at the development issuer, and calls the API with what it got.

/docs loads Swagger UI from a content network; the browser gets the same files from npm, and reaches loopback alone.
"""

import json
from contextlib import ExitStack

import pytest
from browser import CHROMIUM, NoBrowserError, chromium
from npm_packages import MODULES, installed
from real_servers import EXAMPLES, SERVED, UVICORN, serve, settings

from tokenguard.testing import FakeIssuer

AUDIENCE = "https://api.example.com"
PACKAGE = "swagger-ui-dist"
CDN = f"https://cdn.jsdelivr.net/npm/{PACKAGE}@5/"
FILES = {CDN + name: MODULES / PACKAGE / name for name in ("swagger-ui-bundle.js", "swagger-ui.css")}
ROUTE = "#operations-default-orders_orders_get"
TRY_IT, EXECUTE = f"{ROUTE} .try-out__btn:not(.cancel)", f"{ROUTE} .execute"
APPS = {"oauth2": ("fastapi_swagger:app", EXAMPLES), "openid_connect": ("openid:app", SERVED)}


@pytest.fixture(scope="module")
def browser():
    if CHROMIUM is None:
        pytest.skip("needs Chromium: apt-get install chromium")
    if not installed(PACKAGE):
        pytest.skip("needs Node and npm, and its registry at the first run: apt-get install nodejs npm")
    with ExitStack() as stack:
        try:
            running = stack.enter_context(chromium(FILES))
        except NoBrowserError as error:
            pytest.skip(f"Chromium does not start here: {error}")
        yield running


@pytest.fixture(scope="module")
def issuer():
    fake = FakeIssuer(audience=AUDIENCE)
    fake.add_client("client", scopes=["orders:read"])
    fake.add_person("alice", roles=["staff"])
    with fake.serve():
        yield fake


@pytest.fixture(params=APPS)
def page(request, browser, issuer):
    app, folder = APPS[request.param]
    with serve(UVICORN, (app, "--app-dir", str(folder)), settings(issuer.url, AUDIENCE)) as running:
        page = browser.open(f"{running.url}/docs#/default/orders_orders_get")  # with this route unfolded
        page.wait(f"!!document.querySelector('{EXECUTE}') || document.querySelector('{TRY_IT}')?.click()")
        yield page


def call(page):
    """The status and the body that Swagger shows for the route."""
    page.run(f"document.querySelector('{ROUTE} .btn-clear')?.click()")
    page.click(EXECUTE)
    shown = f"{ROUTE} .live-responses-table tbody"
    return page.text(f"{shown} .response-col_status").split()[0], page.text(f"{shown} .response-col_description pre")


def log_in(page, button):
    """Press Authorize for the authorization code flow, and `button` on the issuer's page."""
    page.click(".auth-wrapper .authorize")
    forms = "[...document.querySelectorAll('.modal-ux .auth-container')]"
    ours = f"{forms}.find(one => /authorization_?code/i.test(one.innerText))"
    box = "input[type=checkbox]"
    page.wait(f"!!{ours}?.querySelector('{box}:checked') || {ours}?.querySelector('{box}')?.click()")
    known = set(page.browser.pages)
    page.click_element(f"{ours}?.querySelector('button.authorize')")
    page.browser.another(known).click(button)


def test_people_log_in_and_call_the_route(page, issuer):
    assert call(page)[0] == "401"
    log_in(page, "button[value=alice]")
    page.wait("/Logout/.test(document.querySelector('.modal-ux').innerText)")
    page.click(".modal-ux .btn-done")
    status, body = call(page)
    assert (status, json.loads(body)) == ("200", {"orders": ["of alice"]})
    assert page.browser.log == []


def test_a_person_who_says_no_gets_no_token(page):
    log_in(page, "button[name=deny]")
    assert "access_denied" in page.text(".modal-ux .errors")
    page.click(".modal-ux .btn-done")
    assert call(page)[0] == "401"
