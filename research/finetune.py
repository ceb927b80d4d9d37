"""Train a joint-image model from any Stable Diffusion 1.5, 2 or XL checkpoint (JeDi, sections 3.2 and 3.3).

    python3 research/finetune.py --checkpoint FILE --data SOURCE... --output FILE            a LoRA, for stock loaders
    python3 research/finetune.py --checkpoint FILE --data SOURCE... --output FILE --method full    a checkpoint
    python3 research/finetune.py --estimate              memory of a step: of a GPU's, for usual choices, counted
    python3 research/finetune.py --measure sd15          a step on a model of full size with random weights, timed and counted
    python3 research/finetune.py --demo                  a small LoRA on the demo world, before and after

SOURCE is a folder of sets, videos, shards and more: `python3 research/data.py SOURCE` says what it holds. Started again with the
same arguments, a run goes on where it was, however it ended.
"""

from __future__ import annotations

if not __package__:
    from pack import load

    load()

import argparse
import os
import sys
from pathlib import Path

from same_subject.dev import host as hosts
from same_subject.dev import pack
from same_subject.nodes.training.settings import LAYERS, LORA, METHODS
from same_subject.research.data import parquet

SUBJECTS = 40
PATIENCE = 600.0
"""Seconds after Ctrl+C in which a run may write its state, which is large where all weights are trained."""
NOT_OF_DEMO = ("checkpoint", "data", "side", "largest_set", "accumulate", "cache", "tensorboard", "sheets")
"""Options that --demo has no use for."""


def main(arguments: list[str] | None = None) -> int:
    arguments = sys.argv[1:] if arguments is None else arguments
    parser = _parser()
    options = parser.parse_args(arguments)
    alone = options.demo or options.estimate or options.measure
    if not alone and not (options.checkpoint and options.data and options.output):
        parser.error("needs --checkpoint, --data and --output, or --demo, --estimate or --measure alone")
    if options.demo and (idle := [name for name in NOT_OF_DEMO if getattr(options, name) != parser.get_default(name)]):
        parser.error(f"--demo does without --{idle[0].replace('_', '-')}: it trains on drawn toys, its own way")
    tools = [hosts.train_tools] if options.accelerate or options.tensorboard else []
    if parquet(options.data or ()):
        tools.append(hosts.data_tools)
    pack.enter_host(hosts.enter(options.comfyui, __file__, arguments, *tools, patience=PATIENCE).root)
    try:
        if options.accelerate and "ACCELERATE_MIXED_PRECISION" not in os.environ:
            from same_subject.nodes.training import processes
            from same_subject.research import launching

            processes.check_configuration(options.accelerate, options.method, options.optimiser)
            return launching.launch(options.accelerate, __file__, arguments, PATIENCE)
        from same_subject.research import finetuning

        if options.estimate or options.measure:
            return finetuning.estimate(options)
        return finetuning.demo(options) if options.demo else finetuning.run(options)
    except KeyboardInterrupt:  # the process that started this one says so
        return 130
    except (ValueError, ImportError, ArithmeticError, OSError) as problem:
        print(problem, file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="research/finetune.py", description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoint", type=Path, help="a file with UNet, text encoder and VAE, as Load Checkpoint takes it")
    parser.add_argument(
        "--data",
        nargs="+",
        metavar="SOURCE",
        help="folders or files; each is as likely as the others. Clips alone teach to copy "
        "the scene, too (the paper's table 3, size 0): give sets in other scenes beside them",
    )
    parser.add_argument("--output", type=Path, help="what is written: a LoRA, or with --method full a checkpoint (.safetensors)")
    parser.add_argument("--method", choices=METHODS, default=LORA, help="what is trained (%(default)s)")
    parser.add_argument("--rank", type=int, help="of a LoRA's or LoHa's factors; of LoKr its factor (16; with --demo 8)")
    parser.add_argument("--layers", choices=LAYERS, help="that have factors (all), or only those of attention and feed-forward")
    parser.add_argument("--without-references", action="store_true", help="keep the model's input: it learns to couple, no more")
    parser.add_argument("--steps", type=int, help="of the optimiser (1000; with --demo 400)")
    parser.add_argument("--rate", type=float, help="of learning (1e-4; with --demo 2e-3)")
    parser.add_argument("--rows", type=int, help="pictures of a round, at least one set (4; with --demo 32)")
    parser.add_argument("--largest-set", type=int, choices=(2, 3, 4), default=4, help="pictures of a set at most (%(default)s)")
    parser.add_argument("--accumulate", type=int, default=1, help="rounds of a step (%(default)s)")
    parser.add_argument("--side", type=int, help="pictures have an area of side x side pixels (512; with --measure sdxl 1024)")
    parser.add_argument("--buckets", action="store_true", help="keep the aspect of a set's pictures, about; else they are square")
    parser.add_argument("--snr", type=float, default=0.0, help="most weight of min-SNR, such as 5; 0 weighs all alike")
    parser.add_argument("--head-start", action="store_true", help="see references from the first step, and high noise more")
    parser.add_argument("--save-memory", action="store_true", help="compute activations again for the gradient")
    parser.add_argument("--optimiser", default="adamw", help="adamw, or adamw8bit where bitsandbytes is installed (%(default)s)")
    parser.add_argument("--cache", type=Path, help="a folder where latents and texts are kept from one run to the next")
    parser.add_argument("--accelerate", type=Path, metavar="CONFIG", help="start it in accelerate's processes, as its file says")
    parser.add_argument("--tensorboard", type=Path, metavar="FOLDER", help="a log of all figures, for TensorBoard")
    parser.add_argument("--sheets", type=Path, metavar="FOLDER", help="sample sheets: a set of the data, painted anew")
    parser.add_argument("--sheet-every", type=int, default=200, help="steps between two of them, 0 for none (%(default)s)")
    parser.add_argument("--estimate", action="store_true", help="print what a step would take of a GPU, and train nothing")
    parser.add_argument("--measure", choices=("sd15", "sdxl"), help="train a step at full size, with random weights, and time it")
    parser.add_argument("--folder", type=Path, default=pack.ROOT / "runs", help="where the state of runs is kept")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--demo", action="store_true", help="train on the demo world, from its model of single pictures")
    parser.add_argument("--subjects", type=int, default=SUBJECTS, help="held-out subjects of --demo (%(default)s)")
    parser.add_argument("--comfyui", help="folder of a ComfyUI to use; default: found or installed")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
