"""Scenes of several people: what a step costs, against the arithmetic and against the host alone.

A scene of k people has k + 1 branches of two conditionings each. A person is an identity in all 70 layers of the
UNet and a face for the ControlNet, put together by this pack's own nodes. What is timed is a step of the host's
Euler sampler, from one report of its progress to the next: the predictions of all branches, their blend and the
sampler's own arithmetic, without what is made once a run.
"""

from dataclasses import dataclass, replace
from functools import partial

from . import joint, measuring, rows

CONCEPTS = (1, 2, 4)
CFG = 5.0
COUNTING_SIZE = 64
"""Projections and read-backs do not depend on the size of the picture, so they are counted on a small one."""


@dataclass(frozen=True, eq=False)
class Case:
    """What a sampler gets: a MODEL, two CONDITIONING lists, noise [B, 4, h, w].

    control: its ControlNet, or None. latent: what the noise is added to; None is zeros. cfg: 1 leaves the negative out.
    """

    model: object
    positive: list
    negative: list
    noise: object
    control: object = None
    latent: object = None
    cfg: float = CFG


def planned(bench, kind, size, prefix=""):
    """(name, function that gives rows) of every comparison on pictures of ``size`` by ``size``."""
    plan = [(f"{prefix}scene_{k}", one_call, k) for k in CONCEPTS]
    plan += [(f"{prefix}scene_identities_{k}", identities, k) for k in CONCEPTS]
    plan.append((f"{prefix}scene_own_{CONCEPTS[-1]}", own, CONCEPTS[-1]))
    return [(name, partial(compare, bench, name, k, kind, size)) for name, compare, k in plan]


def one_call(bench, name, concepts, kind, size):
    """k people: all branches of a step in one call against the same branches one after the other."""
    together = scene(bench, kind, size, concepts)
    apart = replace(together, model=one_after_the_other(together.model))
    yield from compare(bench, name, together, apart, joint.COUPLING_BOUND)
    yield from added(name, scene(bench, kind, COUNTING_SIZE, concepts))


def identities(bench, name, concepts, kind, size):
    """What k identities in 70 layers, and blending, add: against the host alone on text, with as many rows in its UNet."""
    ours, host = scene(bench, kind, size, concepts, faces=False), plain(bench, kind, size, concepts + 1)
    yield from compare(bench, name, ours, host, None)
    ours, host = scene(bench, kind, COUNTING_SIZE, concepts, faces=False), plain(bench, kind, COUNTING_SIZE, concepts + 1)
    yield from added(name, ours, host)


def own(bench, name, concepts, kind, size):
    """k people whose branches continue from their own latents, as the paper lists it, against the blend."""
    ours, other = (scene(bench, kind, size, concepts, continue_from=one) for one in ("own", "blend"))
    yield from compare(bench, name, ours, other, joint.COUPLING_BOUND)
    yield from added(name, scene(bench, kind, COUNTING_SIZE, concepts, continue_from="own"))


# -- what is measured of a case -------------------------------------------------------------------


def compare(bench, name, ours, other, bound):
    """Rows of time and memory. predicted: the ratio of the arithmetic, counted in floating-point operations."""
    (flops, unet, control), (other_flops, other_unet, other_control) = work(ours), work(other)
    timed, memory = bench.compare(name, seconds(bench, ours), seconds(bench, other), bound)
    calls = {"unet_calls": unet, "control_calls": control}
    against = {"against_unet_calls": other_unet, "against_control_calls": other_control}
    yield {**timed, "predicted": round(flops / other_flops, 4), "gflop": round(flops / 1e9, 1), **calls, **against}
    yield memory


def seconds(bench, case):
    """A function that gives the seconds of a step: the second of a run, in which nothing is made that is kept."""

    def run():
        marks = []

        def mark(*_):
            bench.synchronize()
            marks.append(bench.clock())

        sample(case, 2, mark)
        return marks[1] - marks[0]

    return run


def work(case):
    """(floating-point operations, rows of each call of the UNet, rows of each call of the ControlNet) of one step."""
    unet, control = [], []
    networks = [(case.model.model.diffusion_model, unet)]
    networks += [(case.control.control_model, control)] if case.control is not None else []
    hooks = [network.register_forward_pre_hook(noting(calls), with_kwargs=True) for network, calls in networks]
    try:
        flops = measuring.count_flops(lambda: sample(case, 1))
    finally:
        for hook in hooks:
            hook.remove()
    return flops, unet, control


def noting(calls):
    """A hook that notes how many rows a network is called with."""
    return lambda network, given, named: calls.append(len(given[0] if given else named["x"]))


def added(name, case, host=None):
    """Rows of the projections and read-backs that this pack adds to a call of the UNet, once a run is on its way.

    That is what its own lines ask for. With ``host``, a case of the host alone with a UNet call of the same rows, it
    is at least what there are more of than there, whoever asked for them.
    """
    from . import counting

    ours, base = watched(case), watched(host) if host else None
    for kind in (counting.PROJECTIONS, counting.READ_BACKS):
        asked, total = ours[kind]
        rest = base[kind][1] if host else total - asked
        yield rows.count_row(f"{name}_{kind}", max(asked, total - rest), rest)


def watched(case, steps=2):
    """What a `Watch` counts in so many steps after a run's first, as {kind: (ours, total)} of a UNet call."""
    from . import counting

    watch, calls, kept = counting.Watch(), [], []

    def report(number, *_):
        if number == 0:
            watch.clear()
            calls.clear()
        if number == steps:
            kept.append(watch.shares(len(calls)))

    hook = case.model.model.diffusion_model.register_forward_pre_hook(noting(calls), with_kwargs=True)
    try:
        with watch:
            sample(case, steps + 1, report)
    finally:
        hook.remove()
    return kept[0]


def sample(case, steps, report=None):
    """The latents of a run of so many steps of Euler. report: called after each step's predictions."""
    import comfy.samplers
    import torch

    latent = torch.zeros_like(case.noise) if case.latent is None else case.latent
    with torch.inference_mode():
        return comfy.samplers.sample(
            case.model, case.noise, case.positive, case.negative, case.cfg, case.model.load_device,
            comfy.samplers.sampler_object("euler"), torch.linspace(10.0, 0.0, steps + 1),
            model_options=case.model.model_options, latent_image=latent, callback=report,
            disable_pbar=True, seed=0,
        )  # fmt: skip


# -- what is measured -----------------------------------------------------------------------------


def scene(bench, kind, size, concepts, faces=True, continue_from="blend"):
    """A scene of so many people side by side on ``size`` by ``size`` pixels. faces: with the face ControlNet.

    It is kept with its models, because the host looks for a leak where a loaded model's last clone is gone.
    """
    key = (size, concepts, faces, continue_from)
    return bench.keep(kind, key, lambda: make_scene(bench, kind, *key))


def make_scene(bench, kind, size, concepts, faces, continue_from):
    """See `scene`."""
    from same_subject.nodes.identity.faces import Identity
    from same_subject.nodes.identity.host import applying
    from same_subject.nodes.scene.branch import Branch
    from same_subject.nodes.scene.host.runs import Scene

    torch, adapter = bench.torch, bench.part("adapter", kind)
    case, chain, generator = plain(bench, kind, size, 1), [], torch.Generator().manual_seed(3)
    model, control = case.model, bench.part("control", kind) if faces else None
    with torch.inference_mode():
        for number in range(concepts):
            person = Identity(8 * torch.randn(adapter.adapter.embedding, generator=generator), ())
            texts = text(torch, adapter.width, 2 + number), case.negative
            model = applying.add_to_model(model, adapter, person)
            if faces:
                keypoints = torch.rand(1, size, size, 3, generator=generator)
                texts = applying.add_control(*texts, control, adapter, person, keypoints)
            chain.append(Branch(*texts, mask=band(torch, size, number, concepts)))
        model = Scene(tuple(chain), None, continue_from, last_steps=0, feather=0.5).install(model)
    return replace(case, model=model, control=control)


def plain(bench, kind, size, pictures):
    """The host alone, on text: so many pictures in a batch."""
    torch, width = bench.torch, bench.part("adapter", kind).width
    noise = torch.randn(pictures, 4, size // 8, size // 8, generator=torch.Generator().manual_seed(0))
    return Case(bench.part("model", kind), text(torch, width, 0), text(torch, width, 1), noise)


def text(torch, width, seed):
    """A random CONDITIONING of 77 tokens."""
    generator = torch.Generator().manual_seed(seed)
    states = torch.randn(1, 77, width, generator=generator)
    return [[states, {"pooled_output": torch.randn(1, 1280, generator=generator)}]]


def band(torch, size, number, concepts):
    """A mask [1, size, size] of one of the upright bands beside the background's, which is the first."""
    left, right = (size * (number + side) // (concepts + 1) for side in (1, 2))
    mask = torch.zeros(1, size, size)
    mask[..., left:right] = 1
    return mask


def one_after_the_other(model):
    """A clone of a scene's model in which each branch's two conditionings are a call of their own."""
    from comfy.patcher_extension import WrappersMP

    def split(executor, network, conds, *rest):
        return [out for start in range(0, len(conds), 2) for out in executor(network, conds[start : start + 2], *rest)]

    model = model.clone()
    model.add_wrapper_with_key(WrappersMP.CALC_COND_BATCH, "bench", split)
    return model
