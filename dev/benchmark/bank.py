"""References at plain cost: a bank of their keys and values, masks, and terms without references.

What is timed is one evaluation as a sampler asks for it, see `joint.py`. A subject takes a third of each reference, from
top to bottom.
"""

from functools import partial

from . import joint, rows

MASKED = {"reference_attention": "itself only", "subject_masks": "given"}
BANKED = {**MASKED, "bank": 2**18}
RECIPE = {**BANKED, "reference_noise": 0.6, "color_match": 0.8}
STRONG = 2.0
PLAIN_BOUND, KERNEL_BOUND, COUPLING_BOUND = 1.15, 1.05, 0.85
TERMS = {"text first": 0.75, "image first": 0.90}
JOINT_BOUND = 0.85
REFERENCES = (1, 3, 8)


def planned(bench):
    """(name, function that gives rows) of every comparison."""
    cuda = bench.device.type == "cuda"
    shapes = [("sd15", bench.size), ("sdxl", 1024) if cuda else ("sdxl_small", 1024)]
    plan = [
        (f"bank_{kind}_{count}", partial(second_picture, bench, kind, size, count))
        for kind, size in shapes
        for count in REFERENCES
    ]
    plan.append(("bank_without", partial(masked, bench)))
    plan += [(f"bank_rows_{mode.replace(' ', '_')}", partial(terms, bench, mode, bound)) for mode, bound in TERMS.items()]
    plan.append(("bank_rows_joint", partial(joint_terms, bench)))
    return plan


def second_picture(bench, kind, size, references):
    """A picture of references that are in the bank against the same model unpatched, both with a term without text.

    Also against the unpatched model and the host's own kernel on the keys that are added; and with a strength, which needs a
    bias, and with the form for models without training, which weighs attention. On a CPU Stable Diffusion XL's layout has a
    fifth of its width, so that attention has a larger part in a step than at full width.
    """
    from same_subject.nodes.joint.host import bank

    name = f"bank_{kind}_{references}"
    plain = joint.evaluation(bench, kind, 1, size, patched=False, guidance="joint")
    layers = joint.self_attention(bench, plain)
    kernels = [
        (count, joint.attention(bench, 1, tokens, width, heads, tokens + shown(tokens, references)),
         joint.attention(bench, 1, tokens, width, heads))
        for (tokens, width, heads), count in layers.items()
    ]  # fmt: skip
    forms = {"": BANKED, "_strong": {**BANKED, "reference_strength": STRONG}}
    if references == 1:
        forms["_recipe"] = {**RECIPE, "reference_strength": STRONG}
    ours = {end: joint.evaluation(bench, kind, 1 + references, size, guidance="joint", **form) for end, form in forms.items()}
    network = bench.part("model", kind).model
    ours[""]()
    kept = bank.size(network)
    if references == 1:
        ours["_recipe"]()  # at another noise level, which makes other pages
    seconds = {end: [] for end in ours}
    for _ in bench.rounds():
        base, extra = plain(), sum(count * (longer() - own()) for count, longer, own in kernels)
        for end, run in ours.items():
            seconds[end].append((run(), base, base + extra))
    bank.begin(network, 0)
    for end, measured in seconds.items():
        bound = PLAIN_BOUND if references == 1 and end != "_recipe" else None
        yield rows.row(f"{name}{end}", [a / b for a, b, _ in measured], bound, [(a, b) for a, b, _ in measured])
        bound = None if end == "_recipe" else KERNEL_BOUND
        yield rows.row(f"{name}{end}_kernel", [a / c for a, _, c in measured], bound, [(a, c) for a, _, c in measured])
    yield rows.kept_row(name, kept)


def shown(tokens, references):
    """Tokens that references with a subject in a third show of a layer."""
    side = round(tokens**0.5)
    return references * side * round(side / 3)


def masked(bench):
    """Three masked references and a picture without a bank against all tokens of all pictures, with the text alone."""
    ours, full = joint.evaluation(bench, "sd15", 4, **MASKED), joint.evaluation(bench, "sd15", 4)
    return bench.compare("bank_without", ours, full, COUPLING_BOUND)


def terms(bench, mode, bound):
    """Three-term guidance with one reference against three calls that compute every row."""
    ours = joint.evaluation(bench, "sd15", 2, guidance=mode)
    apart = joint.evaluation(bench, "sd15", 2, guidance=mode, split=True, every_row=True)
    return bench.compare(f"bank_rows_{mode.replace(' ', '_')}", ours, apart, bound)


def joint_terms(bench):
    """Joint guidance with one reference against a call that computes every row."""
    ours = joint.evaluation(bench, "sd15", 2, guidance="joint")
    every = joint.evaluation(bench, "sd15", 2, guidance="joint", every_row=True)
    return bench.compare("bank_rows_joint", ours, every, JOINT_BOUND)
