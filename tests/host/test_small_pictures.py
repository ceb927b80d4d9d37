"""Pictures that nodes show in themselves: large ones become small, tiny ones are enlarged so that they can be seen."""

import pytest
import torch
from same_subject.nodes.host import small_pictures


@pytest.mark.parametrize(
    "size, shown", [((40, 40), (160, 160)), ((20, 30), (120, 180)), ((300, 200), (300, 200)), ((2048, 1024), (512, 256))]
)
def test_a_picture_is_shown_at_a_size_to_see(size, shown):
    picture = torch.rand(*size, 3, generator=torch.Generator().manual_seed(1))
    found = small_pictures.clear(picture)
    assert found.shape == (*shown, 3)
    if shown >= size:
        times = shown[0] // size[0]
        assert torch.allclose(found[::times, ::times], picture, atol=1e-6), "each pixel is a square"
