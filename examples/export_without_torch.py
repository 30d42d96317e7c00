"""A model as a folder that runs with NumPy, Pillow and ONNX Runtime alone.

    pip install "pixelwise[export]"
    python examples/export_without_torch.py

Exports the small model that comes with pixelwise, checks the labels as it does so, and runs the folder in a Python that
cannot import torch or pixelwise: copy it to another machine, and it does the same. Prints the share of labels that are
equal to pixelwise's on a drawn picture.
"""

import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import numpy as np
from PIL import Image

import pixelwise as pw
from pixelwise.flow.demo import draw_new_pictures

draw_new_pictures(Path("new-pictures"), count=1)
segmenter = pw.load(str(files("pixelwise.server") / "demo_model.safetensors"))
exported = pw.export(segmenter, "segment", bundle=True)
print("segment:", ", ".join(sorted(path.name for path in exported.out.iterdir())))

without = "import runpy, sys; sys.modules |= dict.fromkeys(('torch', 'pixelwise')); sys.argv = sys.argv[1:]; "
command = [sys.executable, "-c", without + "runpy.run_path(sys.argv[0], run_name='__main__')", "segment/predict.py"]
subprocess.run([*command, "new-pictures", "--out", "masks"], check=True)

mask = np.asarray(Image.open("masks/new_000.png"))
labels = segmenter.predict("new-pictures/new_000.jpg").labels
print(f"equal to pixelwise's labels: {(mask == labels).mean():.2%}")
