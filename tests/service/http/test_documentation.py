"""The page that explains the API, on a machine without a network."""

import re

from model.artifact import Artifact
from tests.service.applications import running


def test_page_needs_no_other_host(artifact: Artifact) -> None:
    """All files that it refers to are served here and are not empty. No reference names another host."""
    with running(artifact) as client:
        page = client.get("/docs")
        references = re.findall(r"""(?:src|href|url)["']?\s*[=:]\s*["']([^"']+)["']""", page.text)
        found = {reference: client.get(reference) for reference in references}

    assert page.status_code == 200
    assert {reference.rpartition(".")[2] for reference in references} == {"css", "js", "json", "png"}
    assert all(reference.startswith("/") and not reference.startswith("//") for reference in references)
    assert all(reply.status_code == 200 and reply.content for reply in found.values())
    assert not re.findall(r"https?://", page.text)
    assert '"validatorUrl": null' in page.text  # otherwise the page sends the document to a validator of its makers
