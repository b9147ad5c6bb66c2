"""The estimated cost of requests, and which requests are large."""

import platform
import subprocess
import sys
from pathlib import Path

import pytest

from model.artifact import Manifest, WeightRecord
from model.batch_memory import COMPARED, LARGE_BLOCK, BatchMemory
from tests.service import artifacts


def manifest(root: Path, probes: int | None) -> Manifest:
    """Return the manifest of an artifact of 100,000 tracks with 64 dimensions and a bias, with a full search or an index."""
    items = WeightRecord(dtype="float32", shape=(100_002, 65), offset=0)
    changes = {"tracks": 100_000, "weights": {"items": items}}
    return artifacts.load(root, probes=probes).manifest.model_copy(update=changes)


@pytest.mark.parametrize("probes", [None, 16])
def test_cost_grows_with_what_is_asked_for(tmp_path: Path, probes: int | None) -> None:
    """The cost rises with exclusions, count and candidates."""
    memory = BatchMemory(manifest(tmp_path, probes))
    costs = [memory.cost(rows, count).bytes for rows, count in ((0, 10), (100, 10), (100, 100), (10_000, 100))]
    ranked = [memory.cost(rows, None).bytes for rows in (1, 100, 10_000)]

    assert costs == sorted(set(costs))
    assert ranked == sorted(set(ranked))


def test_many_exclusions_are_large_for_an_index_alone(tmp_path: Path) -> None:
    """A full search masks exclusions in place. An index must score one more row for each of them."""
    scan, index = (BatchMemory(manifest(tmp_path / str(probes), probes)) for probes in (None, 16))

    assert (scan.cost(10_000, 10).is_large, index.cost(10_000, 10).is_large) == (False, True)
    assert (scan.cost(COMPARED, 10).is_large, index.cost(COMPARED, 10).is_large) == (False, False)
    assert scan.cost(10_000, None).is_large


def test_rows_are_fetched_to_be_left_out_only_where_comparing_costs_more(tmp_path: Path) -> None:
    """Up to `COMPARED` exclusions, such as a session's own tracks, the graph compares the rows itself."""
    scan, index = (BatchMemory(manifest(tmp_path / str(probes), probes)) for probes in (None, 16))

    assert (index.fetched(10, COMPARED), index.fetched(10, COMPARED + 1)) == (None, COMPARED + 11)
    assert scan.fetched(10, 10_000) is None


def test_measured_costs_replace_the_guess_of_an_ordinary_request(tmp_path: Path) -> None:
    """Costs of further rows are added to the measured cost, which also decides whether a request is large."""
    memory = BatchMemory(manifest(tmp_path, 16))
    added = memory.cost(10_000, 10).bytes - memory.cost(0, 10).bytes
    memory.measured(model_bytes=50_000_000, rank_bytes=7)

    assert memory.cost(10_000, 10).bytes - memory.cost(0, 10).bytes == added
    assert (memory.cost(0, 10).bytes // 1_000_000, memory.cost(0, None).bytes) == (75, 10)
    assert (memory.cost(10_000, 10).is_large, memory.cost(1, None).is_large) == (False, True)


KEEPS = """
import sys
from ctypes import CDLL, c_size_t, c_void_p, memset
from pathlib import Path
from resource import getpagesize
from model.batch_memory import map_large_blocks

def taken_pages():
    return int(Path("/proc/self/statm").read_text().split()[1])

if sys.argv[1] == "mapped":
    assert map_large_blocks()
c = CDLL(None)
c.malloc.restype, c.malloc.argtypes, c.free.argtypes = c_void_p, [c_size_t], [c_void_p]
size = 8 * int(sys.argv[2])
c.free(c.malloc(size))  # glibc's threshold follows the first large block that is freed
before = taken_pages()
blocks = [(c.malloc(size), c.malloc(100_000)) for _ in range(4)]
for large, _ in blocks:
    memset(large, 1, size)
for large, _ in blocks:
    c.free(large)
print(round((taken_pages() - before) * getpagesize() / size))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
@pytest.mark.parametrize(("blocks", "left"), [("mapped", 0), ("left to glibc", 4)])
def test_large_blocks_are_returned_although_smaller_ones_follow_them(blocks: str, left: int) -> None:
    """A process of its own frees four large blocks, each with a smaller one behind it. By default glibc keeps all four."""
    ran = subprocess.run([sys.executable, "-c", KEEPS, blocks, str(LARGE_BLOCK)], check=True, capture_output=True, text=True)

    assert int(ran.stdout) == left
