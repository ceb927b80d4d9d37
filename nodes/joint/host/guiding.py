"""Three-term guidance (JeDi, equation 4) inside the host's own CFG, for one sampling step."""

from __future__ import annotations

import comfy.samplers
import torch

from .. import guidance


def three_terms(model_options: dict, partial: list[dict], mode: str, image_scale: float) -> dict:
    """Model options under which the host's `sampling_function` computes equation 4; the given ones stay as they are.

    partial: the processed conditioning of e1. All three terms go through one `calc_cond_batch`, so
    that they share a batch where memory allows. Functions before and after CFG (PAG, SAG and others)
    keep seeing the true conditional and unconditional predictions. Returned options serve one step.
    """
    e1: list[torch.Tensor] = []
    own_calc = model_options.get("sampler_calc_cond_batch_function")
    own_cfg = model_options.get("sampler_cfg_function")

    def calc_cond_batch(args: dict) -> list:
        model, x, sigma = args["model"], args["input"], args["sigma"]
        if own_calc is not None:
            out = own_calc(args)
            e1[:] = comfy.samplers.calc_cond_batch(model, [partial], x, sigma, args["model_options"])
            return out
        *out, e1_ = comfy.samplers.calc_cond_batch(model, [*args["conds"], partial], x, sigma, args["model_options"])
        e1[:] = [e1_]
        return out

    def cfg_function(args: dict):
        x, scale = args["input"], args["cond_scale"]
        first, second = guidance.scales(mode, scale, image_scale)
        terms = (args["uncond_denoised"], e1[0], args["cond_denoised"])
        if own_cfg is None or scale == 0:
            return x - guidance.guide(*terms, first, second)
        conditional = guidance.as_conditional(*terms, first, second, scale)
        return own_cfg({**args, "cond": x - conditional, "cond_denoised": conditional})

    return {
        **model_options,
        "sampler_calc_cond_batch_function": calc_cond_batch,
        "sampler_cfg_function": cfg_function,
        # e0 has the factor 1 - lambda_1: the host may leave it out where cfg is 1 only if that is lambda_1.
        "disable_cfg1_optimization": model_options.get("disable_cfg1_optimization", False) or mode == guidance.IMAGE_FIRST,
    }
