"""The number of connections that a process allows itself."""

import resource
import subprocess
import sys

import pytest

CODE = """
import resource
from service.http.connections import allowed
resource.setrlimit(resource.RLIMIT_NOFILE, ({soft}, {hard}))
print(allowed(1_000), resource.getrlimit(resource.RLIMIT_NOFILE)[0])
"""


@pytest.mark.parametrize(
    ("soft", "hard", "found"),
    [
        (256, 256, "128 256"),  # half of the files, since connections to Redis, logs and a burst of new connections need some
        (256, 4_096, "1000 2000"),  # the process may raise its own limit, and takes no more than it needs
        (3_000, 4_096, "1000 3000"),
    ],
)
def test_connections_leave_half_of_the_files(soft: int, hard: int, found: str) -> None:
    """It runs in a process of its own, because a lowered limit cannot be raised again."""
    if resource.getrlimit(resource.RLIMIT_NOFILE)[1] < 4_096:
        pytest.skip("this machine allows fewer files than the test wants")
    code = CODE.format(soft=soft, hard=hard)
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert ended.stdout.strip() == found
