"""What Subject-Diffusion is trained on: drawn pictures whose boxes, texts and subjects belong together, and labelled ones."""

import io

import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from same_subject.nodes.data.shards import write_samples
from same_subject.research import image_encoder, subject_data, world
from same_subject.research.labels import rle, shards

ENCODER = image_encoder.CONFIG


def encode(picture):
    """Latents that are the picture's own colours, so that tests can see what is where."""
    small = F.avg_pool2d(picture, 4)
    return torch.cat((small, small[:, :1]), dim=1)


def look(shown):
    """The mean colour of each cut-out, without what was cut off, as an embedding."""
    return F.pad(shown.mean(dim=(2, 3)), (0, ENCODER["projection_dim"] - 3)), torch.zeros(len(shown), 64, ENCODER["hidden_size"])


def test_a_drawn_pair_has_its_subjects_in_the_order_of_its_text():
    texts = subject_data.Texts.of_the_world()
    pool = subject_data.Pool(2, True, encode, look, torch.Generator().manual_seed(1), 32, True)
    pool.fill()
    batch = pool.kept
    turned = batch.boxes[:, 0, 0] > batch.boxes[:, 1, 0]
    assert 4 < int(turned.sum()) < 28
    side = world.SIZE // 4
    for row in range(32):
        first, second = texts.places[batch.texts[row]].tolist()
        read = texts.tokens[batch.texts[row]].tolist()
        assert read[first] == read[second] == subject_data.PLACEHOLDER_TOKEN and first < second
        for subject in (0, 1):
            left, top, right, bottom = batch.boxes[row, subject].tolist()
            columns, rows = batch.inside[row, subject].amax(dim=0).nonzero(), batch.inside[row, subject].amax(dim=1).nonzero()
            assert abs(float(columns.min()) / (2 * side) - left) < 0.04 and abs(float(rows.max() + 1) / side - bottom) < 0.08
            assert 0 <= top < bottom and right <= 1
    singles, pairs = len(world.SHAPES) * len(world.SCENES), subject_data.TURNED
    assert torch.equal(batch.texts >= singles + pairs, turned)


def labelled(folder, toys, count, seed=0):
    """Shards of drawn pictures with what is true of them."""
    generator = torch.Generator().manual_seed(seed)
    samples = []
    for number in range(count):
        scene = torch.tensor([number % 6])
        drawn = [world.draw_subjects(1, generator) for _ in range(toys)]
        if toys == 2:
            picture, masks = world.draw_pairs(*drawn, scene, generator, poses=world.draw_places)
            caption = world.pair_caption(int(drawn[0].shape), int(drawn[1].shape), int(scene))
        else:
            picture, masks = world.draw(drawn[0], world.draw_places(1, generator), scene, generator)
            caption = world.caption(int(drawn[0].shape), int(scene))
        listed = []
        for one, mask in zip(drawn, masks[0] > 0.5, strict=True):
            rows, columns = mask.any(dim=1).nonzero().flatten(), mask.any(dim=0).nonzero().flatten()
            height, width = mask.shape
            box = [int(columns[0]) / width, int(rows[0]) / height, int(columns[-1] + 1) / width, int(rows[-1] + 1) / height]
            listed.append({"class": world.SHAPES[int(one.shape)], "box": box, "score": 0.9, "mask": rle.encode(mask)})
        file = io.BytesIO()
        Image.fromarray((picture[0].movedim(0, -1) * 255).round().byte().numpy()).save(file, "PNG")
        said = {"key": f"{number}.png", "height": height, "width": width, "entities": listed, "caption": caption}
        samples.append(shards.sample(number, said, file.getvalue()))
    folder.mkdir(exist_ok=True)
    write_samples(folder / shards.name(toys), samples)
    return folder


def test_labelled_pictures_are_a_source(tmp_path):
    labelled(labelled(tmp_path, 1, 3), 2, 5)
    texts, pools, shares = subject_data.labelled(tmp_path, encode, look, torch.Generator().manual_seed(2))
    assert shares == [3, 5] and [pool.wide for pool in pools] == [False, True]
    batch = pools[1].kept
    assert batch.latents.shape == (5, 4, 16, 32) and batch.cls.shape[:2] == (5, 2)
    for row in range(5):
        caption, named = subject_data.captions(tmp_path)[3 + row]
        assert int(batch.texts[row]) == 3 + row and len(named) == 2 and (texts.places[3 + row] > 0).all()
        for subject in (0, 1):
            left, _, right, _ = batch.boxes[row, subject].tolist()
            columns = batch.inside[row, subject].amax(dim=0).nonzero().flatten() / 32
            assert left - 0.04 < float(columns.min()) and float(columns.max()) < right
    assert len(pools[1].sample(4).texts) == 4


def test_a_folder_without_labels_is_refused(tmp_path):
    with pytest.raises(ValueError, match="holds no labelled pictures"):
        subject_data.labelled(tmp_path, encode, look, torch.Generator())
