"""Set-up of all tests."""

import os

import pytest

# As in the trainer's command line, this must be set before torch is loaded. Tests share their machine.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
# The tests run on all cores already. Several threads of one test then only wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")

LONG = (
    "tests/training/test_run.py",
    "tests/test_end_to_end.py",
    "tests/service/test_main.py",
    "tests/training/exporting/test_export.py",
    "tests/training/fitting/test_ranks.py",
    "tests/test_copy_head.py",
    "tests/test_album.py",
    "tests/training/exporting/search/test_select_retrieval.py",
    "tests/browser/test_dashboard.py",
    "tests/service/test_replicas.py",
    "tests/training/backfilling/test_backfill.py",
    "tests/browser/test_player.py",
    "tests/training/fitting/test_fit.py",
    "tests/clients/test_python_client.py",
    "tests/service/test_models.py",
    "tests/service/store/test_redis_cluster.py",
)
"""The files that take longest, longest first. One that starts late would run on alone after all others."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Start the long files first, and the others in their order."""
    places = {config.rootpath / name: place for place, name in enumerate(LONG)}
    assert all(path.exists() for path in places), "LONG names a file that does not exist"
    items.sort(key=lambda item: places.get(item.path, len(LONG)))
