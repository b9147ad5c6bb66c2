"""Slots, positions, the causal mask and packing agree with drawings by hand.

Shapes: S slots.
"""

import pytest
import torch

from model.nets.blocks import Block, Packing, causal_mask, held_of, positions_of, slots_of

HISTORIES = torch.tensor([[0, 0, 7], [5, 6, 7], [0, 0, 0]])


def drawing(mask_SS: torch.Tensor) -> list[str]:
    """Draw a mask as text: x where a slot (line) may read another (column)."""
    return ["".join("x" if readable else "." for readable in line) for line in mask_SS.tolist()]


def test_there_is_always_a_free_slot_on_the_left() -> None:
    """It is the place of the start token, also in a full history."""
    assert slots_of(HISTORIES).tolist() == [[False, False, False, True], [False, True, True, True], [False] * 4]


def test_positions_count_from_the_oldest_entry() -> None:
    """The start has position 0, however much padding precedes it."""
    assert positions_of(slots_of(HISTORIES)).tolist() == [[0, 0, 0, 1], [0, 1, 2, 3], [0, 0, 0, 0]]


def test_entry_reads_itself_what_came_before_and_the_start() -> None:
    """It reads nothing on its right. Padding reads only itself, so that no row of the mask is empty."""
    masks = causal_mask(slots_of(HISTORIES))[:, 0]

    assert drawing(masks[0]) == ["x...", ".x..", "..x.", "..xx"]
    assert drawing(masks[1]) == ["x...", "xx..", "xxx.", "xxxx"]
    assert drawing(masks[2]) == ["x...", ".x..", "..x.", "...x"]


def test_entries_and_the_start_hold_something() -> None:
    """The start is directly before the oldest entry; in an empty history it is alone."""
    assert held_of(slots_of(HISTORIES)).tolist() == [[False, False, True, True], [True] * 4, [False] * 3 + [True]]


def test_packing_leaves_padding_out_and_puts_the_rest_back() -> None:
    """Histories follow each other, and each slot returns to its place. The last slots are also returned by themselves."""
    held = held_of(slots_of(HISTORIES))
    numbers = torch.arange(12.0).view(3, 4, 1)
    packing = Packing(held)
    packed = packing.pack(numbers)

    assert packed.flatten().tolist() == [2, 3, 4, 5, 6, 7, 11]
    assert torch.equal(packing.spread(packed)[held], numbers[held])
    assert packing.last(packed).flatten().tolist() == [3, 7, 11]


def test_whole_packing_leaves_nothing_out() -> None:
    """Every slot stays in its place, padding too."""
    numbers = torch.arange(12.0).view(3, 4, 1)
    packing = Packing(held_of(slots_of(HISTORIES)), whole=True)
    packed = packing.pack(numbers)

    assert packed.flatten().tolist() == list(range(12))
    assert torch.equal(packing.spread(packed), numbers)
    assert packing.last(packed).flatten().tolist() == [3, 7, 11]


@pytest.mark.parametrize("gates", [False, True])
def test_last_slots_alone_come_out_as_with_the_others(gates: bool) -> None:
    """Serving computes the same states as training."""
    torch.manual_seed(0)
    block = Block(width=8, heads=2, feed_forward=16, dropout=0.0, gates=gates)
    filled = slots_of(HISTORIES)
    packing, mask = Packing(held_of(filled)), causal_mask(filled)
    packed = packing.pack(torch.randn(3, 4, 8))

    assert torch.allclose(block(packed, mask, packing, last=True), packing.last(block(packed, mask, packing)), atol=1e-6)


def test_block_mixes_only_what_the_mask_lets_through() -> None:
    """A slot that no other slot may read changes none of them."""
    torch.manual_seed(0)
    block = Block(width=8, heads=2, feed_forward=16, dropout=0.0)
    hidden = torch.randn(3, 8)
    changed = hidden.clone()
    changed[2] += 1
    mask, packing = causal_mask(slots_of(torch.tensor([[1, 2]]))), Packing(torch.ones(1, 3).bool())

    before, after = block(hidden, mask, packing), block(changed, mask, packing)

    assert torch.equal(before[:2], after[:2])
    assert not torch.allclose(before[2], after[2])


def test_dropout_acts_in_training_alone() -> None:
    """In service the same input gives the same answer."""
    torch.manual_seed(0)
    block = Block(width=8, heads=2, feed_forward=16, dropout=0.5)
    given = torch.randn(3, 8), causal_mask(slots_of(torch.tensor([[1, 2]]))), Packing(torch.ones(1, 3).bool())

    assert not torch.equal(block(*given), block(*given))
    assert torch.equal(block.eval()(*given), block(*given))


def test_width_that_the_heads_cannot_share_is_refused() -> None:
    """The error has both numbers, and comes before torch complains about a shape."""
    with pytest.raises(ValueError, match="width 10 is not a multiple of 3 heads"):
        Block(width=10, heads=3, feed_forward=8, dropout=0.0)


def test_gated_block_is_ligr_by_its_formula() -> None:
    """Computes x + sigmoid(W x) * attention(norm(x)), then the same with a SwiGLU. The attention is torch's own module."""
    torch.manual_seed(0)
    block = Block(width=8, heads=2, feed_forward=16, dropout=0.3, gates=True).eval()
    for parameter in block.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    hidden, mask = torch.randn(2, 4, 8), torch.ones(4, 4).tril().bool()
    attention = torch.nn.MultiheadAttention(8, 2, batch_first=True).eval()
    attention.load_state_dict(
        {
            "in_proj_weight": block.project_in.weight,
            "in_proj_bias": block.project_in.bias,
            "out_proj.weight": block.project_out.weight,
            "out_proj.bias": block.project_out.bias,
        }
    )
    weights = dict(block.named_parameters())

    def linear(name: str, values: torch.Tensor) -> torch.Tensor:
        return values @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    normed = block.attention_norm(hidden)
    read = attention(normed, normed, normed, attn_mask=~mask)[0]
    between = hidden + torch.sigmoid(linear("gates.0", hidden)) * read
    both = linear("feed_forward.0.project", block.feed_forward_norm(between))
    swished = both[..., :16] * torch.sigmoid(both[..., :16]) * both[..., 16:]
    wanted = between + torch.sigmoid(linear("gates.1", between)) * linear("feed_forward.2", swished)

    packing = Packing(torch.ones(2, 4).bool())
    assert torch.allclose(packing.spread(block(packing.pack(hidden), mask, packing)), wanted, atol=1e-5)
