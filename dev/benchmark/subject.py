"""Subjects: what a step costs beside the layers that they bring, against joint sets, and with attention control.

A step is the second of a run, as in `scenes.py`, so what is made once a run is not in it. Unless a row says otherwise it
is the conditional term alone, at a cfg and an image scale of 1. Subjects are those of ViT-H: 256 patch tokens each, on an
adapter with two slots, side by side.
"""

import contextlib
import statistics
from collections import Counter
from dataclasses import replace
from functools import partial

from . import joint, measuring, rows, scenes

SUBJECTS = (1, 2, 4)
BOUND = 1.05
TEXT_SCALE, IMAGE_SCALE = 3.0, 1.5
STEERED = (1, 4)
"""Pictures in a batch whose attention is controlled."""
TOKENS, WEIGHTS = "projections of subjects", "exchanged weights"


def planned(bench, kind, size):
    """(name, function that gives rows) of every comparison on pictures of ``size`` by ``size``."""
    plan = [(f"subject_{kind}_{count}", partial(step, bench, kind, size, count)) for count in SUBJECTS]
    plan.append((f"subject_{kind}_terms", partial(terms, bench, kind, size)))
    if kind == "sd15":
        plan.append(("subject_control", partial(control, bench, kind, size)))
    return plan


def step(bench, kind, size, count):
    """A step with subjects: see `beside`; against a joint set with as many references; and what it makes anew."""
    name = f"subject_{kind}_{count}"
    yield from beside(bench, name, case(bench, kind, size, count), joint.evaluation(bench, kind, 1 + count, size))
    yield from once(bench, name, case(bench, kind, scenes.COUNTING_SIZE, count))


def terms(bench, kind, size):
    """The three terms of a step with two subjects in one call, also against those of a joint set with two references."""
    others = joint.evaluation(bench, kind, 3, size, guidance="text first")
    yield from beside(bench, f"subject_{kind}_terms", case(bench, kind, size, 2, three=True), others)


def beside(bench, name, ours, joint_set):
    """A case against the model unpatched on as many rows plus the layers alone, and against an evaluation of a joint set.

    predicted: the ratio of the arithmetic, counted in floating-point operations.
    """
    flops, calls, _ = scenes.work(ours)
    flops = measuring.count_flops(lambda: scenes.sample(ours, 2)) - flops
    noise = ours.noise.repeat(sum(calls), 1, 1, 1)
    plain = replace(ours, model=bench.parts["model"], positive=ours.negative, noise=noise, cfg=1.0)
    plain_flops, plain_calls, _ = scenes.work(plain)
    layers, with_subjects, without = alone(bench, ours), scenes.seconds(bench, ours), scenes.seconds(bench, plain)
    predicted = {"predicted": round(flops / (plain_flops + measuring.count_flops(layers)), 4), "gflop": round(flops / 1e9, 3)}
    measured = []
    for _ in bench.rounds():
        measured.append((with_subjects(), without(), layers(), joint_set()))
    row = rows.row(name, [a / (b + c) for a, b, c, _ in measured], BOUND, [(a, b + c) for a, b, c, _ in measured])
    own = {"layers_ms": round(1000 * statistics.median(each[2] for each in measured), 2)}
    against = {"against_unet_calls": plain_calls, "against_control_calls": []}
    yield {**row, **predicted, **own, "unet_calls": calls, "control_calls": [], **against}
    yield rows.row(f"{name}_jedi", [a / d for a, _, _, d in measured], None, [(a, d) for a, _, _, d in measured])


def control(bench, kind, size):
    """A step with attention control against one without, with three terms; and what the gradient takes for 1 and 4 pictures."""
    plain, moved = (case(bench, kind, size, 2, three=True, steered=steered) for steered in (False, True))
    with_control, without = scenes.seconds(bench, moved), scenes.seconds(bench, plain)
    seconds = [(with_control(), without()) for _ in bench.rounds()]
    yield rows.row("subject_control", [a / b for a, b in seconds], None, seconds)
    few, many = (of_moves(bench, case(bench, kind, size, 2, pictures=count, steered=True)) for count in STEERED)
    yield rows.memory_row("subject_control_batch", few, many)


def of_moves(bench, steered):
    """Bytes that the gradient of attention control takes at most in one step."""
    from same_subject.nodes.subject.host import steering

    original, peaks = steering.moves, []

    def measured(*given):
        found = []
        peaks.append(bench.peak(lambda: found.append(original(*given))))
        return found[-1]

    steering.moves = measured
    try:
        scenes.sample(steered, 1)
    finally:
        steering.moves = original
    return max(peaks)


def alone(bench, ours):
    """A function that gives the seconds of the adapter's layers on what they get in a step of ``ours``, and nothing else."""
    torch, adapter = bench.torch, bench.parts["subject_adapter"]
    given = [[] for _ in adapter.networks.layers]
    with hooked((layer, noting(kept)) for layer, kept in zip(adapter.networks.layers, given, strict=True)):
        scenes.sample(ours, 1)
    generator = torch.Generator().manual_seed(4)
    calls = []
    for layer, ((x, *rest),) in zip(adapter.networks.layers, given, strict=True):
        calls.append((layer, torch.randn(x.shape, generator=generator).to(x), rest))

    def run():
        with torch.inference_mode():
            bench.synchronize()
            started = bench.clock()
            for layer, x, rest in calls:
                layer(x, *rest)
            bench.synchronize()
            return bench.clock() - started

    return run


def noting(kept):
    """A hook that keeps what a layer is given."""
    return lambda layer, given: kept.append(given)


@contextlib.contextmanager
def hooked(pairs):
    """Inside, hooks stand before networks."""
    hooks = [network.register_forward_pre_hook(hook) for network, hook in pairs]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def once(bench, name, ours):
    """Rows of what is made in a run's second step that does not depend on the step."""
    first, second = made(bench.parts["subject_adapter"].networks, ours)
    for kind in (TOKENS, WEIGHTS):
        row = rows.count_row(f"{name}_{kind.replace(' ', '_')}", second[kind], 0)
        yield {**row, "in_first_step": first[kind]}


def made(networks, ours):
    """How often the first two steps of a run each project subjects' tokens and boxes, and take weights that are exchanged."""
    now, steps = Counter(), []
    projecting = [networks.proj, networks.proj.linears_image, *networks.mlp.values()]
    projecting += [layer.linear for layer in networks.layers]

    def take(name):
        now[WEIGHTS] += 1
        return type(networks).get_parameter(networks, name)

    def report(*_):
        steps.append(now.copy())
        now.clear()

    networks.get_parameter = take
    try:
        with hooked((network, lambda *_: now.update([TOKENS])) for network in projecting):
            scenes.sample(ours, 2, report)
    finally:
        del networks.get_parameter
    return steps


def case(bench, kind, size, count, pictures=1, three=False, steered=False):
    """A run with so many subjects, kept with its models. three: with all terms of guidance. steered: with attention control."""
    key = ("subjects", size, count, pictures, three, steered)
    bench.part("model", kind), bench.part("subject_adapter", kind)
    return bench.keep(kind, key, lambda: make(bench, *key[1:]))


def make(bench, size, count, pictures, three, steered):
    """See `case`."""
    from same_subject.nodes.subject import settings
    from same_subject.nodes.subject.host import applying, prompting

    torch, model, adapter = bench.torch, bench.parts["model"], bench.parts["subject_adapter"]
    own = subjects(torch, adapter, count)
    ((states, others),) = negative = joint.texts(torch, model, 1)
    words = tuple((4 * n + 2, 4 * n + 4) for n in range(count))
    positive = [[states.flip(1), {**others, prompting.SUBJECTS: own, prompting.WORDS: words}]]
    chosen = settings.Settings(
        image_scale=IMAGE_SCALE if three else 1.0, steering=settings.Steering(steps=1000 if steered else 0)
    )
    noise = torch.randn(pictures, 4, size // 8, size // 8, generator=torch.Generator().manual_seed(0))
    model = applying.apply(model, own, chosen)
    return scenes.Case(model, positive, negative, noise, cfg=TEXT_SCALE if three else 1.0)


def subjects(torch, adapter, count):
    """So many random subjects side by side."""
    from same_subject.nodes.subject import chain

    generator, sizes = torch.Generator().manual_seed(3), adapter.about.sizes
    each = []
    for number in range(count):
        cls = torch.randn(sizes.cls, generator=generator)
        patches = torch.randn(sizes.patches, sizes.patch, generator=generator)
        each.append(chain.Subject("subject", cls, patches, (number / count, 0.25, (number + 1) / count, 0.75)))
    return chain.Subjects(adapter, tuple(each))
