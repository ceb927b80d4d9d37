"""A synthetic antelopev2: five small ONNX files with the published names, inputs and outputs.

The detector finds bright red squares of 32 pixels that lie on its grid of 32, in a picture of 640: each is a face, whose
score is its red and whose size grows with its blue. The recogniser is a fixed random projection of the
aligned face. The other three answer with values of the right shape.
"""

from __future__ import annotations

import random
from pathlib import Path

import torch

GRID = 32
SIZE = 640
KEYPOINTS = ((-0.5, -0.5), (0.5, -0.5), (0.0, 0.0), (-0.4, 0.5), (0.4, 0.5))
"""From a face's centre, in units of its half width: eyes, nose, corners of the mouth."""


def save_pack(folder: Path) -> Path:
    """Write the five files into ``folder``."""
    import onnx

    folder.mkdir(parents=True, exist_ok=True)
    networks = {
        "scrfd_10g_bnkps.onnx": _detector(),
        "glintr100.onnx": _pooled("input.1", 112, 28, 512, seed=1),
        "2d106det.onnx": _pooled("data", 192, 64, 212, seed=2),
        "1k3d68.onnx": _pooled("data", 192, 192, 3309, seed=3),
        "genderage.onnx": _pooled("data", 96, 96, 3, seed=4),
    }
    for name, network in networks.items():
        onnx.checker.check_model(network)
        onnx.save(network, str(folder / name))
    return folder


def picture(*squares: tuple[int, int, float, float], size: int = SIZE) -> torch.Tensor:
    """A picture [size, size, 3] with a face for each (row, column, red, blue) of the grid. At 640 it is detected as it is."""
    generator = torch.Generator().manual_seed(0)
    canvas = 0.2 * torch.rand(SIZE, SIZE, 1, generator=generator).expand(-1, -1, 3).clone()
    for row, column, red, blue in squares:
        block = canvas[row * GRID : (row + 1) * GRID, column * GRID : (column + 1) * GRID]
        block[..., 0], block[..., 1], block[..., 2] = red, 0.0, blue
    step = SIZE // size
    return canvas[::step, ::step] if step > 1 else canvas


def _model(nodes: list, inputs: list, outputs: list, constants: dict):
    from onnx import helper, numpy_helper

    initialisers = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "synthetic", inputs, outputs, initialisers)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


def _pooled(name: str, size: int, pool: int, outputs: int, seed: int):
    """Means over squares of ``pool`` pixels, then a fixed random projection: [B, 3, size, size] to [1, outputs]."""
    import numpy
    from onnx import TensorProto, helper

    draw = random.Random(seed)
    cells = 3 * (size // pool) ** 2
    weight = numpy.array([[draw.gauss(0, 1) for _ in range(outputs)] for _ in range(cells)], dtype=numpy.float32)
    nodes = [
        helper.make_node("AveragePool", [name], ["means"], kernel_shape=[pool, pool], strides=[pool, pool]),
        helper.make_node("Flatten", ["means"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weight"], ["out"]),
    ]
    taken = helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 3, size, size])
    given = helper.make_tensor_value_info("out", TensorProto.FLOAT, [1, outputs])
    return _model(nodes, [taken], [given], {"weight": weight})


def _detector():
    """[1, 3, H, W] to scores, boxes and keypoints at strides 8, 16 and 32, two anchors a cell; only the last has faces."""
    import numpy
    from onnx import TensorProto, helper

    nodes, outputs, constants = [], [], {}
    names = {(kind, stride): f"{kind}_{stride}" for kind in ("score", "bbox", "kps") for stride in (8, 16, 32)}
    width = {"score": 1, "bbox": 4, "kps": 10}
    for (kind, stride), name in names.items():
        outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, [f"{kind}{stride}", width[kind]]))
        if stride != 32:
            constants[f"{name}_zero"] = numpy.zeros((2 * width[kind], 3, 1, 1), dtype=numpy.float32)
            constants[f"{name}_rows"] = numpy.array([-1, width[kind]])
            nodes += [
                helper.make_node("AveragePool", ["input.1"], [f"{name}_cells"], kernel_shape=[stride] * 2, strides=[stride] * 2),
                helper.make_node("Conv", [f"{name}_cells", f"{name}_zero"], [f"{name}_zeros"]),
                helper.make_node("Reshape", [f"{name}_zeros", f"{name}_rows"], [name]),
            ]
    # Red minus green of a cell, -2..2, and its blue, -1..1; an anchor stands at a cell's upper left corner.
    constants["contrast"] = numpy.array([0.5, -0.5, 0, 0, 0, 0.5], dtype=numpy.float32).reshape(2, 3, 1, 1)
    constants["shift"] = numpy.array([0.0, 1.0], dtype=numpy.float32).reshape(1, 2, 1, 1)
    constants["column"], constants["pad"] = numpy.array([-1, 1]), numpy.array([0, 0, 0, 1])
    constants["box_sign"] = numpy.array([[1, 1, 1, 1]], dtype=numpy.float32)
    constants["box_shift"] = numpy.array([[-0.5, -0.5, 0.5, 0.5]], dtype=numpy.float32)
    constants["kps_sign"] = numpy.array([[value for point in KEYPOINTS for value in point]], dtype=numpy.float32)
    constants["half"] = numpy.array([[0.5]], dtype=numpy.float32)
    constants["first"], constants["second"] = numpy.array([0]), numpy.array([1])
    constants["anchors"], constants["sizes"] = numpy.array([-1, 1]), numpy.array([1, 2])
    nodes += [
        helper.make_node("AveragePool", ["input.1"], ["cells"], kernel_shape=[32, 32], strides=[32, 32]),
        helper.make_node("Conv", ["cells", "contrast"], ["mixed"]),
        helper.make_node("Add", ["mixed", "shift"], ["values"]),
        helper.make_node("Gather", ["values", "first"], ["scores"], axis=1),
        helper.make_node("Gather", ["values", "second"], ["blue"], axis=1),
        helper.make_node("Reshape", ["scores", "column"], ["score_column"]),
        helper.make_node("Pad", ["score_column", "pad"], ["score_pairs"]),  # the second anchor of a cell finds nothing
        helper.make_node("Reshape", ["score_pairs", "anchors"], ["score_32"]),
        helper.make_node("Reshape", ["blue", "column"], ["size_column"]),
        helper.make_node("Tile", ["size_column", "sizes"], ["size_pairs"]),
        helper.make_node("Reshape", ["size_pairs", "anchors"], ["half_width"]),
        helper.make_node("Mul", ["half_width", "box_sign"], ["box_reach"]),
        helper.make_node("Add", ["box_reach", "box_shift"], ["bbox_32"]),
        helper.make_node("Mul", ["half_width", "kps_sign"], ["kps_reach"]),
        helper.make_node("Add", ["kps_reach", "half"], ["kps_32"]),
    ]
    taken = helper.make_tensor_value_info("input.1", TensorProto.FLOAT, [1, 3, "height", "width"])
    return _model(nodes, [taken], outputs, constants)
