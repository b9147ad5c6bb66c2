"""The measurement of a listener's memory writes the stated numbers of events and counts all of the listener's keys."""

import pytest

from tests.load.memory import Kept, main


def test_each_kind_of_listener_is_measured(capsys: pytest.CaptureFixture[str]) -> None:
    """More events take more memory, and each kind of value has its key."""
    main({"few": Kept(2), "many": Kept(200), "every kind": Kept(200, 3, 2, 1), "older": Kept(320, older=900)})
    found = [line.split() for line in capsys.readouterr().out.splitlines()]
    sizes = [int(words[-5].replace(",", "")) for words in found]

    assert [words[-2] for words in found] == ["1", "1", "4", "3"]
    assert 200 < sizes[0] < sizes[1] / 20
    assert sizes[1] < sizes[2]
    assert sizes[3] > 1.6 * sizes[1] + 800 * 12  # 320 events, and 12 bytes a play
