"""Slots, positions and the causal mask, drawn by hand.

Shapes: S slots.
"""

import pytest
import torch

from model.nets.blocks import Block, causal_mask, positions_of, slots_of

HISTORIES = torch.tensor([[0, 0, 7], [5, 6, 7], [0, 0, 0]])


def drawing(mask_SS: torch.Tensor) -> list[str]:
    """A mask as text: x where a slot (line) may read another (column)."""
    return ["".join("x" if readable else "." for readable in line) for line in mask_SS.tolist()]


def test_there_is_always_a_free_slot_on_the_left() -> None:
    """The start token's place, in a full history too."""
    assert slots_of(HISTORIES).tolist() == [[False, False, False, True], [False, True, True, True], [False] * 4]


def test_positions_count_from_the_oldest_entry() -> None:
    """The start is 0, however much padding stands before it."""
    assert positions_of(slots_of(HISTORIES)).tolist() == [[0, 0, 0, 1], [0, 1, 2, 3], [0, 0, 0, 0]]


def test_entry_reads_itself_what_came_before_and_the_start() -> None:
    """Nothing to the right; padding reads only itself, so that no line is empty."""
    masks = causal_mask(slots_of(HISTORIES))[:, 0]

    assert drawing(masks[0]) == ["x...", ".x..", "..x.", "..xx"]
    assert drawing(masks[1]) == ["x...", "xx..", "xxx.", "xxxx"]
    assert drawing(masks[2]) == ["x...", ".x..", "..x.", "...x"]


def test_block_mixes_only_what_the_mask_lets_through() -> None:
    """A slot that no other may read changes none of them."""
    torch.manual_seed(0)
    block = Block(width=8, heads=2, feed_forward=16, dropout=0.0)
    hidden = torch.randn(1, 3, 8)
    changed = hidden.clone()
    changed[:, 2] += 1
    mask = causal_mask(slots_of(torch.tensor([[1, 2]])))

    before, after = block(hidden, mask), block(changed, mask)

    assert torch.equal(before[:, :2], after[:, :2])
    assert not torch.allclose(before[:, 2], after[:, 2])


def test_dropout_acts_in_training_alone() -> None:
    """What is served is the same each time."""
    torch.manual_seed(0)
    block = Block(width=8, heads=2, feed_forward=16, dropout=0.5)
    hidden, mask = torch.randn(1, 3, 8), causal_mask(slots_of(torch.tensor([[1, 2]])))

    assert not torch.equal(block(hidden, mask), block(hidden, mask))
    assert torch.equal(block.eval()(hidden, mask), block(hidden, mask))


def test_width_that_the_heads_cannot_share_is_refused() -> None:
    """Found and wanted, before a tensor of a wrong shape says less."""
    with pytest.raises(ValueError, match="width 10 is not a multiple of 3 heads"):
        Block(width=10, heads=3, feed_forward=8, dropout=0.0)
