"""The demo's file of subjects: what training made is what loads, and words that no caption uses take no room."""

import torch
from same_subject.nodes.subject.adapter import Networks
from same_subject.nodes.subject.host import loading
from same_subject.research import export_subjects, image_encoder, nets, subject_data, train_subjects
from same_subject.tests.tiny import models


def test_what_training_made_is_what_loads(tmp_path):
    networks = models.randomise(Networks(train_subjects.sizes(nets.unet({**nets.UNET, "in_channels": 4}))), 1)
    trained = {"adapter": networks.state_dict(), "text": nets.text_encoder(seed=2).state_dict()}
    encoder = models.randomise(image_encoder.network(), 3)
    torch.save({"average": trained, "done": 77}, tmp_path / "subjects.pt")
    torch.save({"average": {"encoder": encoder.state_dict()}}, tmp_path / "encoder.pt")
    file = tmp_path / "demo" / "subjects.safetensors"
    export_subjects.export(str(tmp_path), path=file)
    loaded = loading.load(file)
    assert (loaded.about.steps, loaded.about.family, loaded.about.box_of_one) == (77, "demo", True)
    assert file.stat().st_size < 15e6
    for name, value in loaded.networks.state_dict().items():
        assert torch.equal(value, trained["adapter"][name].half().float()), name
    text = loaded.clip.cond_stage_model.clip_l.transformer.state_dict()
    words = subject_data.Texts.of_the_world().tokens.unique()
    for name, value in text.items():
        expected = trained["text"][name].half()
        if value.shape[0] == 49408:
            assert len(words) < 200 and not value[~torch.isin(torch.arange(49408), words)].any()
            value, expected = value[words], expected[words]
        assert torch.equal(value.half(), expected), name
    picture = torch.rand(64, 64, 3)
    with torch.no_grad():
        prepared = image_encoder.prepared(picture.movedim(-1, 0)[None], torch.ones(1, 1, 64, 64))
        cls, patches = image_encoder.encode(encoder, prepared)
    seen = loaded.encode(picture)
    assert (seen[0] - cls[0]).norm() < 0.01 * cls.norm() and (seen[1] - patches[0]).norm() < 0.01 * patches.norm()
