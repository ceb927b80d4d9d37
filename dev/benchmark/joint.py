"""Joint sets: coupled attention, three-term guidance and cheaper references, each against what it should cost.

What is timed is one evaluation as a sampler asks for it: reference replacement, terms, guidance and the UNet.
"""

import contextlib

from . import rows

COUPLING_BOUND = 1.05
TERMS_BOUND = {"cpu": 1.05, "cuda": 1.0}


def coupling(bench, pictures, kind="sd15", size=None):
    """(a) A coupled set of N against the same batch unpatched plus the longer attention that coupling asks for.

    The extra time is that of the host's own kernel, called alone on the coupled and on the plain shapes.
    """
    name = f"coupling_{pictures}" if kind == "sd15" else f"{kind}_coupling_{pictures}"
    plain = evaluation(bench, kind, pictures, size=size, patched=False)
    coupled = evaluation(bench, kind, pictures, size=size)
    kernels = [
        (layers, attention(bench, 1, pictures * tokens, width, heads), attention(bench, pictures, tokens, width, heads))
        for (tokens, width, heads), layers in self_attention(bench, plain).items()
    ]
    memory = [bench.peak(plain), bench.peak(coupled)]
    seconds, ratios = [], []
    for _ in bench.rounds():
        base, ours = plain(), coupled()
        extra = sum(layers * (joined() - apart()) for layers, joined, apart in kernels)
        seconds.append((ours, base + extra))
        ratios.append(ours / (base + extra))
    return [rows.row(name, ratios, COUPLING_BOUND, seconds), rows.memory_row(name, *memory)]


def three_terms(bench):
    """(b) Three-term guidance in one batched call against three calls of the same patched model."""
    together = evaluation(bench, "sd15", 2, guidance="text first")
    apart = evaluation(bench, "sd15", 2, guidance="text first", split=True)
    return bench.compare("three_terms", together, apart, TERMS_BOUND[bench.device.type])


def references_only(bench):
    """(c) References that attend only to references against full coupling, one picture and three references."""
    full = evaluation(bench, "sd15", 4)
    cheaper = evaluation(bench, "sd15", 4, reference_attention="references only")
    return bench.compare("references_only", cheaper, full, 1.0)


def sdxl(bench):
    """The same as (a) on SDXL at 1024 x 1024, with milliseconds a step."""
    return coupling(bench, 2, kind="sdxl", size=1024)


# -- one evaluation of a set ----------------------------------------------------------------------


def evaluation(bench, kind, pictures, size=None, patched=True, guidance=None, split=False, every_row=False, **options):
    """A function that runs one evaluation of a set (one generated picture, the others references) as a sampler does.

    guidance: a mode of the node "JeDi" at a cfg other than 1; None evaluates the conditional term
    alone. split: let every term be a call of its own, as the host does where memory is short. every_row: let a wrapper
    look at the UNet's batch, so that rows of references are computed in a reference-free term, too.
    It returns the seconds that the evaluation itself took, without the sampler's set-up.
    """
    import comfy.samplers
    from comfy.patcher_extension import WrappersMP

    torch, model = bench.torch, bench.part("model", kind)
    side = (size or bench.size) // 8
    joint_set, conditioning = set_of(torch, pictures, side), texts(torch, model, pictures)
    if patched:
        model = patch(model, joint_set, guidance or "joint", options)
    if every_row:
        model.add_wrapper_with_key(WrappersMP.DIFFUSION_MODEL, "bench", look)
    sigmas = torch.tensor([5.0, 0.0])
    noise = torch.randn(pictures, 4, side, side, generator=torch.Generator().manual_seed(0))

    def run():
        taken = []

        def sampler(*given, **named):
            with splitting(model) if split else contextlib.nullcontext():  # not while the host loads the model
                return timed(bench, taken, *given, **named)

        comfy.samplers.sample(
            model, noise, conditioning, conditioning, 7.5 if guidance else 1.0, model.load_device,
            comfy.samplers.KSAMPLER(sampler), sigmas, model_options=model.model_options, latent_image=joint_set.latent(),
            disable_pbar=True, seed=0,
        )  # fmt: skip
        return taken[0]

    return run


def look(executor, *given, **named):
    """A wrapper that changes nothing."""
    return executor(*given, **named)


def timed(bench, taken, model, x, sigmas, extra_args=None, **_):
    """A "sampler" that evaluates the model once and notes how long that took."""
    sigma = sigmas[0] * x.new_ones(x.shape[0])
    bench.synchronize()
    started = bench.clock()
    model(x, sigma, **(extra_args or {}))
    bench.synchronize()
    taken.append(bench.clock() - started)
    return x


def attention(bench, rows, tokens, width, heads, keys=None):
    """A function that runs the host's attention kernel alone on random queries, and so many ``keys`` and values."""
    from comfy.ldm.modules.attention import optimized_attention

    torch, dtype = bench.torch, bench.parts["model"].model.get_dtype()
    generator, lengths = torch.Generator().manual_seed(0), (tokens, keys or tokens, keys or tokens)
    q, k, v = (torch.randn(rows, length, width, generator=generator).to(bench.device, dtype) for length in lengths)

    def run():
        bench.synchronize()
        started = bench.clock()
        with torch.inference_mode():
            optimized_attention(q, k, v, heads)
        bench.synchronize()
        return bench.clock() - started

    return run


def self_attention(bench, evaluation):
    """The self-attention layers of the model as {(tokens, width, heads): layers}; runs one evaluation."""
    network = bench.parts["model"].model.diffusion_model
    layers = [layer for name, layer in network.named_modules() if name.endswith(".attn1")]
    counts = {}

    def note(layer, given):
        shape = (*given[0].shape[1:], layer.heads)
        counts[shape] = counts.get(shape, 0) + 1

    hooks = [layer.register_forward_pre_hook(note) for layer in layers]
    try:
        evaluation()
    finally:
        for hook in hooks:
            hook.remove()
    if sum(counts.values()) != len(layers):
        raise RuntimeError(f"{len(layers)} self-attention layers, but {sum(counts.values())} calls in one evaluation")
    return counts


def set_of(torch, pictures, side):
    """A joint set of one picture to generate and `pictures - 1` references, with random latents.

    The subject of each is in a third of it; masks act where options say so.
    """
    from same_subject.nodes.joint import layout

    where = layout.Layout(1, 1, pictures - 1)
    clean = torch.randn(pictures - 1, 4, side, side, generator=torch.Generator().manual_seed(1))
    noise = layout.draw_noise(0, 1, pictures - 1, tuple(clean.shape[1:]))
    mask = torch.zeros(side, side)
    mask[:, : round(side / 3)] = 1
    return layout.JointSet(where, clean, noise, "bench", masks=(mask,) * (pictures - 1))


def texts(torch, model, pictures):
    """A random conditioning with one row a picture."""
    width = model.model.model_config.unet_config["context_dim"]
    generator = torch.Generator().manual_seed(2)
    states = torch.randn(pictures, 77, width, generator=generator)
    return [[states, {"pooled_output": torch.randn(pictures, 1280, generator=generator)}]]


def patch(model, joint_set, guidance, options):
    """The model with JeDi on it, as the node "JeDi" does it."""
    from same_subject.nodes.joint import settings
    from same_subject.nodes.joint.host import sets

    return sets.apply(model, joint_set, settings.Settings(mode=guidance, options=settings.Options(**options)))


@contextlib.contextmanager
def splitting(model):
    """Make the host believe that two terms never fit into memory at once."""
    network = model.model
    network.memory_required = lambda *_, **__: float("inf")
    try:
        yield
    finally:
        del network.memory_required
