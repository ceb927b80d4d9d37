"""What a run of a joint set that does not fit into memory says."""

import comfy.model_management
import pytest
import torch
from comfy.patcher_extension import WrappersMP
from same_subject.tests.tiny import models
from same_subject.tests.tiny.sets import apply, case, sample

OutOfMemory = comfy.model_management.OOM_EXCEPTION


def failing(model, problem):
    """The model, out of memory when it is called."""
    model = model.clone()

    def call(executor, *args, **kwargs):
        raise problem

    model.add_wrapper_with_key(WrappersMP.DIFFUSION_MODEL, "test", call)
    return model


def said(monkeypatch, rows, **shape):
    """The sentence of a run on a device with memory for so many rows beside the model."""
    one = case(**shape)
    model = apply(models.model(), one.joint_set)
    needed = model.model.memory_required([rows, *one.joint_set.references.shape[1:]])
    monkeypatch.setattr(comfy.model_management, "get_total_memory", lambda *_, **__: model.model_size() + needed)
    with pytest.raises(OutOfMemory) as caught:
        sample(failing(model, OutOfMemory("CUDA out of memory. Tried to allocate")), one)
    return str(caught.value)


def test_out_of_memory_names_the_rows_and_windows_that_fit(monkeypatch):
    message = said(monkeypatch, 7, sets=2, generated=4)
    assert "JeDi: memory ran out on 12 rows (2 sets of 4 generated + 2 reference pictures) with latents of 8x8" in message
    assert "about 7 rows at once fit" in message and "`sets` of Joint Set to 1 with at most 4 prompts" in message
    assert "`dim` 0 and `context_length` 7" in message
    message = said(monkeypatch, 4, sets=1, generated=4)
    assert "about 4 rows" in message and "at most 2 prompts" in message and "`context_length` 4" in message


def test_fewer_than_the_estimate_are_named_where_the_estimate_was_too_low(monkeypatch):
    assert "about 5 rows" in said(monkeypatch, 100, generated=4)


def test_where_no_picture_fits_beside_the_references_smaller_ones_are_the_remedy(monkeypatch):
    message = said(monkeypatch, 2, generated=4)
    assert "about 2 rows" in message and message.endswith("smaller, or take fewer references.")


def test_other_failures_stay_what_they_are():
    one = case()
    with pytest.raises(RuntimeError, match="^something else$"):
        sample(failing(apply(models.model(), one.joint_set), RuntimeError("something else")), one)
    assert issubclass(OutOfMemory, RuntimeError) and OutOfMemory is torch.cuda.OutOfMemoryError
