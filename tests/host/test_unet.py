"""What is read off a model's layers."""

import pytest
import torch
from same_subject.nodes.host import unet


@pytest.mark.parametrize("size", ((64, 96), (9, 13), (7, 11), (16, 16)))
def test_halvings_are_counted_at_every_resolution(size):
    found, layer = [], torch.zeros(1, 1, *size)
    halve = torch.nn.Conv2d(1, 1, 3, stride=2, padding=1)  # the UNet's own way to halve
    for _ in range(4):
        found.append(unet.halvings({"original_shape": [1, 1, *size], "activations_shape": list(layer.shape)}))
        layer = halve(layer)
    assert found == [0, 1, 2, 3]
