"""What several files of tests share: a page of the real frontend, in both of its renderers."""

import pytest
from same_subject.tests.server import browser, opened


@pytest.fixture(scope="module", params=[False, True], ids=["canvas", "nodes 2.0"])
def page(live, request):
    if browser.program() is None:
        pytest.skip(browser.MISSING)
    live.client.post("/settings", {"Comfy.TutorialCompleted": True, "Comfy.VueNodes.Enabled": request.param})
    page = browser.Page()
    try:
        page.start()
    except browser.NoBrowser as problem:
        (pytest.fail if request.config.getoption("--require-browser") else pytest.skip)(str(problem))
    try:
        page.open(live.client.url)
        page.wait_for(opened.READY)
        yield page
    finally:
        page.stop()
