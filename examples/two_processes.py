"""Two processes train as one does.

    python examples/two_processes.py one
    torchrun --nproc-per-node 2 examples/two_processes.py two

A batch is that of the run: each process takes its part of the crops, and gradients are averaged, between CPUs by Gloo,
between GPUs by NCCL. So both commands take the same steps, but for the rounding of sums. From the shell
`torchrun --nproc-per-node 2 -m pixelwise train RECIPE --data FOLDER` does the same. Prints the loss of each fifth step,
and the mean IoU; the model and a report are left in the folder that is named.
"""

import sys
from pathlib import Path

from pixelwise.flow.demo import draw_demo
from pixelwise.flow.train_recipe import train_recipe
from pixelwise.processes import joined
from pixelwise.training.loop import StepLogged

SMALL = {  # the recipe is U-Net's, for gray pictures: three channels, less of everything
    "normalization.mean": (110, 110, 110),
    "normalization.deviation": (50, 50, 50),
    "border_weights": False,
    "model_options": {"width": 1 / 16, "depth": 3},
    "crop_size": (64, 64),
    "batch_size": 4,
    "steps": 10,
    "log_every": 5,
    "validate_every": 10,
    "threads": 1,
}


def tell(event: object) -> None:
    """What the first process prints."""
    if isinstance(event, StepLogged):
        print(f"step {event.step}: loss {event.loss:.4f}")


with joined() as processes:
    if processes.leads and not Path("garden").exists():
        draw_demo(Path("garden/train"), count=8, size=(64, 96))
        draw_demo(Path("garden/val"), count=2, size=(64, 96), seed=1)
    processes.told(None)  # the others wait until it is there
    result = train_recipe("unet_valid_folder", "garden", out=sys.argv[1], settings=SMALL, tell=tell)
    if processes.leads and result.evaluation is not None:
        print(f"mean IoU {result.evaluation.scores.mean_iou:.3f}")
