"""Processes as torchrun starts them, forked from one that has imported torch already: an import each costs more."""

import json
import os
import socket
import subprocess
import sys
from typing import NamedTuple

FORKS = '''
import json, os, pty, select, sys, traceback
import torch._dynamo, torch.distributed, torch.nn.parallel  # each optimizer imports the first
import PIL.Image
import pixelwise.cli.main, pixelwise.cli.show.fit, pixelwise.flow.evaluate, pixelwise.flow.predicting.predict
import pixelwise.flow.train_recipe
import charset_normalizer, numpy as np, pixelwise.models.unet, pixelwise.training.loop, scipy.linalg
from pathlib import Path
from pixelwise.data.lookup_kernels import look_up
from pixelwise.metrics_kernels import count_pairs
PIL.Image.init()
count_pairs(*np.zeros((2, 4), np.uint8))
look_up(np.zeros((256, 3), np.float32), np.zeros((2, 2, 3), np.uint8), np.zeros((2, 2, 3), np.float32))

def begin(asked, rank, out, error):
    """The forked process."""
    os.environ.clear()
    os.environ.update(asked["env"], RANK=str(rank), LOCAL_RANK=str(rank))
    os.dup2(out, 1)
    os.dup2(error, 2)
    code = 1
    try:
        if asked["before"]:
            exec(asked["before"], {"rank": rank})
        if asked["code"]:
            exec(asked["code"], {})
            code = 0
        else:
            pixelwise.cli.main.main(asked["arguments"])
    except SystemExit as ended:
        code = ended.code
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)

for line in sys.stdin:
    asked = json.loads(line)
    folder, children, terminals = Path(asked["folder"]), [], {}
    for rank in range(asked["count"]):
        if asked["terminals"]:
            mine, theirs = pty.openpty()
            terminals[mine] = folder / f"out-{rank}"
            pair = theirs, theirs
        else:
            paths = folder / f"out-{rank}", folder / f"error-{rank}"
            pair = [os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC) for path in paths]
        child = os.fork()
        if child == 0:
            begin(asked, rank, *pair)
        children.append(child)
        for number in set(pair):
            os.close(number)
    while terminals:
        for mine in select.select(list(terminals), [], [])[0]:
            try:
                found = os.read(mine, 65536)
            except OSError:  # its process has ended
                os.close(mine)
                del terminals[mine]
                continue
            with terminals[mine].open("ab") as file:
                file.write(found)
    print(json.dumps([os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]), flush=True)
'''


class Ran(NamedTuple):
    """What a process left: all of it in `out` where it was in a terminal."""

    out: str
    error: str
    code: int


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Several:
    """Starts commands of pixelwise, or Python code, in several processes at once; one after the other."""

    def __init__(self, folder):
        self._folder = folder
        self._process = None
        self._number = 0

    def __call__(self, arguments, count=2, *, code="", before="", terminals=False, **environment):
        """[Ran] of each process.

        Args:
            arguments: of `pixelwise`; or none, and `code` is run instead.
            before: Python that runs in each process first; it sees `rank`.
        """
        if self._process is None:
            self._process = subprocess.Popen(
                [sys.executable, "-c", FORKS],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                env=os.environ | {"OMP_NUM_THREADS": "1"},
            )
        self._number += 1
        folder = self._folder / str(self._number)
        folder.mkdir()
        world = {"WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
        asked = {
            "arguments": [str(argument) for argument in arguments],
            "code": code,
            "before": before,
            "count": count,
            "folder": str(folder),
            "terminals": terminals,
            "env": {
                **os.environ,
                "OMP_NUM_THREADS": "1",
                "COLUMNS": "100",
                **(world if count > 1 else {}),
                **environment,
            },
        }
        self._process.stdin.write(json.dumps(asked) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        assert answer, "the process that is forked has ended"
        codes = json.loads(answer)

        def text(kind, rank):
            path = folder / f"{kind}-{rank}"
            return path.read_text() if path.exists() else ""

        return [Ran(text("out", rank), text("error", rank), code) for rank, code in enumerate(codes)]

    def close(self):
        if self._process is not None:
            self._process.communicate(timeout=60)
