"""The documented code of a backend signs tokens that the service takes."""

import runpy
from pathlib import Path

from service.http.access.keys import digest
from service.http.access.tokens import with_secret
from tests.docs.pages import page

SECRET = "a secret for tests that is long enough"  # noqa: S105  # of tests alone


def test_documented_backend_signs_a_token_that_is_taken(tmp_path: Path) -> None:
    """The code is run as it stands on the page."""
    [block] = [block for block in page("docs/operate.md").blocks if "def listener_token" in block.text]
    program = tmp_path / "backend.py"
    program.write_text(block.text)
    token = runpy.run_path(str(program))["listener_token"]("ann", SECRET).encode()

    assert with_secret(SECRET).user(token, digest(token)) == "ann"
