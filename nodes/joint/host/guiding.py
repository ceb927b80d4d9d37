"""Three-term guidance (JeDi, equation 4) inside the host's own CFG, for one sampling step."""

from __future__ import annotations

from dataclasses import dataclass

import comfy.samplers
import torch

from ...host import pairs
from .. import guidance

MODEL_WRAPPER, CALC = "model_function_wrapper", "sampler_calc_cond_batch_function"
BEFORE, CFG, AFTER = "sampler_pre_cfg_function", "sampler_cfg_function", "sampler_post_cfg_function"


def three_terms(model_options: dict, partial: list[dict], mode: str, image_scale: float) -> dict:
    """Model options under which the host's `sampling_function` computes equation 4; the given ones stay as they are.

    partial: the processed conditioning of e1. All three terms go through one `calc_cond_batch`, so
    that they share a batch where memory allows. Functions after CFG (PAG, SAG and others) keep seeing the true
    conditional and unconditional predictions. Functions before CFG (APG and others) act on all terms: they see e0 and the
    conditional for which plain guidance is equation 4. Returned options serve one step.
    """
    step = _Step(model_options, partial, mode, image_scale)
    options = {
        **model_options,
        CALC: step.calc_cond_batch,
        # e0 has the factor 1 - lambda_1: the host may leave it out where cfg is 1 only if that is lambda_1.
        "disable_cfg1_optimization": model_options.get("disable_cfg1_optimization", False) or mode == guidance.IMAGE_FIRST,
    }
    if model_options.get(MODEL_WRAPPER) is not None:
        options[MODEL_WRAPPER] = step.model_function_wrapper
    if not model_options.get(BEFORE):
        return {**options, CFG: step.cfg_function}
    options[BEFORE] = [step.as_conditional, *model_options[BEFORE], step.after_the_others]
    options[AFTER] = [step.with_true_terms(function) for function in model_options.get(AFTER, [])]
    return options


@dataclass(eq=False)
class _Step:
    """What the functions of a step hand on to each other: e1, and what becomes of e on the way to the functions after CFG."""

    options: dict
    partial: list[dict]
    mode: str
    image_scale: float
    e1: torch.Tensor | None = None
    e: torch.Tensor | None = None
    conditional: torch.Tensor | None = None

    def calc_cond_batch(self, args: dict) -> list:
        conds, own = args["conds"], self.options.get(CALC)

        def predict(conds: list) -> list:
            return comfy.samplers.calc_cond_batch(args["model"], conds, args["input"], args["sigma"], args["model_options"])

        in_pairs = pairs.wanted(args["model_options"].get("transformer_options", {}))
        if own is None and not in_pairs:
            *out, self.e1 = predict([*conds, self.partial])
            return out
        out = predict(conds) if own is None else own(args)
        # In pairs e1 has its partner where it has the text; under image first both would be negative.
        if guidance.partial_number(self.mode) == 0:
            self.e1 = predict([self.partial, conds[1] if in_pairs else None])[0]
        else:
            self.e1 = predict([None, self.partial])[1]
        return out

    def model_function_wrapper(self, apply_model, args: dict):
        return self.options[MODEL_WRAPPER](apply_model, {**args, "cond_or_uncond": numbers(args["cond_or_uncond"], self.mode)})

    def cfg_function(self, args: dict):
        x, scale = args["input"], args["cond_scale"]
        terms, scales = (args["uncond_denoised"], self.e1, args["cond_denoised"]), self._scales(scale)
        own = self.options.get(CFG)
        if own is None or scale == 0:
            return x - guidance.guide(*terms, *scales)
        conditional = guidance.as_conditional(*terms, *scales, scale)
        return own({**args, "cond": x - conditional, "cond_denoised": conditional})

    def as_conditional(self, args: dict) -> list:
        """Before the other functions before CFG."""
        scale = args["cond_scale"]
        if scale == 0:
            raise ValueError(
                f"JeDi: cfg is 0 and `guidance` is `{self.mode}`, but a node on the model that acts before CFG (APG, FreSca, "
                "TCFG or the like) needs a cfg above 0 to act on its three terms. Raise cfg, or remove that node."
            )
        self.e, e0, *others = args["conds_out"]
        self.conditional = guidance.as_conditional(e0, self.e1, self.e, *self._scales(scale), scale)
        return [self.conditional, e0, *others]

    def after_the_others(self, args: dict) -> list:
        """After the other functions before CFG: e changes by what they changed."""
        self.e = self.e + (args["conds_out"][0] - self.conditional)
        return args["conds_out"]

    def with_true_terms(self, function):
        """A function after CFG."""
        return lambda args: function({**args, "cond_denoised": self.e})

    def _scales(self, scale: float) -> tuple[float, float]:
        return guidance.scales(self.mode, scale, self.image_scale)


def numbers(cond_or_uncond: list[int], mode: str) -> list[int]:
    """The host's numbers of chunks as patches know them, 0 and 1. The third is e1, where three terms are predicted together."""
    return [number if number < 2 else guidance.partial_number(mode) for number in cond_or_uncond]
