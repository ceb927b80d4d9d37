"""Reading weight files: what is no file of finite weights is refused in one place, by name."""

import pytest
import torch
from safetensors.torch import save_file
from same_subject.nodes.host import model_files


@pytest.mark.parametrize("value", (float("nan"), float("inf"), float("-inf")))
@pytest.mark.parametrize("dtype", (torch.float32, torch.float16, torch.bfloat16, torch.float8_e4m3fn))
def test_weights_that_are_no_numbers_are_refused_with_their_name(tmp_path, value, dtype):
    if dtype is torch.float8_e4m3fn and value != value or dtype is not torch.float8_e4m3fn:
        good, bad = torch.ones(3, 4).to(dtype), torch.tensor([[1.0, value], [2.0, 3.0]]).to(dtype)
        count = torch.tensor([1, 2])
        for path, save in ((tmp_path / "a.safetensors", save_file), (tmp_path / "a.bin", torch.save)):
            save({"first": good, "count": count}, str(path))
            assert torch.equal(model_files.read(path)["first"].float(), good.float())
            save({"first": good, "second.weight": bad}, str(path))
            with pytest.raises(
                ValueError, match=f"^{path.name} .* cannot be read: `second.weight` holds NaN or infinity. It is damaged"
            ):
                model_files.read(path)


def test_weights_inside_a_part_are_read_too(tmp_path):
    torch.save({"one": {"weight": torch.ones(2)}, "two": {"weight": torch.full((2,), torch.nan)}}, tmp_path / "a.bin")
    with pytest.raises(ValueError, match="`two.weight` holds NaN or infinity"):
        model_files.read(tmp_path / "a.bin")


@pytest.mark.parametrize("content", ([1, 2], torch.zeros(3), "text", {1: torch.zeros(1), 2: torch.zeros(1)}, None, 7))
def test_what_is_no_list_of_named_weights_is_refused(tmp_path, content):
    torch.save(content, tmp_path / "a.bin")
    with pytest.raises(ValueError, match=r"^a.bin \(\d+ bytes\) cannot be read: .*It is damaged, is no file of weights"):
        model_files.read(tmp_path / "a.bin")


def test_a_zip_that_unpacks_to_more_than_it_is_is_refused_unread(tmp_path, monkeypatch):
    import zipfile

    torch.save({"weight": torch.zeros(100_000)}, tmp_path / "a.bin")
    with zipfile.ZipFile(tmp_path / "a.bin") as source, zipfile.ZipFile(tmp_path / "b.bin", "w", zipfile.ZIP_DEFLATED) as target:
        for entry in source.infolist():
            target.writestr(entry.filename, source.read(entry))
    assert (tmp_path / "b.bin").stat().st_size < 5000 and model_files.read(tmp_path / "a.bin")["weight"].numel() == 100_000
    monkeypatch.setattr(model_files.comfy.utils, "load_torch_file", None)
    with pytest.raises(ValueError, match=r"^b.bin .* cannot be read: it is a zip that unpacks to 40\d+ bytes"):
        model_files.read(tmp_path / "b.bin")
