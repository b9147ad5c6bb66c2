"""The pages as they are served. `tests/browser` tests their use."""

import re
from importlib.resources import files

import pytest

from model.artifact import Artifact
from tests.service.applications import running


@pytest.mark.parametrize(("path", "title"), [("/", "demo player"), ("/dashboard", "dashboard")])
def test_an_address_opens_a_page(artifact: Artifact, path: str, title: str) -> None:
    with running(artifact) as client:
        page = client.get(path)
        linked = re.findall(r'(?:href|src)="(/web/[^"]+)"', page.text)
        parts = {path: client.get(path).status_code for path in linked}

    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "default-src 'self'" in page.headers["content-security-policy"]
    assert f"<title>nexttrack: {title}</title>" in page.text
    assert len(linked) > 2
    assert set(parts.values()) == {200}


def test_scripts_import_files_that_exist_and_no_other_host_is_named() -> None:
    folder = files("service.web")
    scripts = {
        entry.name: entry.read_text("utf-8") for entry in folder.iterdir() if entry.name.endswith((".js", ".html", ".css"))
    }

    imported = {name for text in scripts.values() for name in re.findall(r'from "/web/([^"]+)"', text)}

    assert imported
    assert imported <= set(scripts)
    assert not [name for name, text in scripts.items() if "://" in text.replace("http://www.w3.org/2000/svg", "")]
