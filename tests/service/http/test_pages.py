"""The demo player as it is served. `tests/browser` tests its use."""

import re
from importlib.resources import files

from model.artifact import Artifact
from tests.service.applications import running


def test_the_address_opens_the_player(artifact: Artifact) -> None:
    with running(artifact) as client:
        page = client.get("/")
        linked = re.findall(r'(?:href|src)="(/web/[^"]+)"', page.text)
        parts = {path: client.get(path).status_code for path in linked}

    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "default-src 'self'" in page.headers["content-security-policy"]
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
    assert not [name for name, text in scripts.items() if "://" in text]
