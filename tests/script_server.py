"""Runs scripts for `tiny_runs.run`, each in a fork of this process, which has loaded TensorFlow.

To load it takes longer than most runs. It is safe to fork as long as its runtime has not started here.
"""

import gc
import json
import os
import pathlib
import runpy
import sys

sys.path[0] = str(pathlib.Path(__file__).resolve().parent.parent)  # that of the scripts

from training import app  # noqa: E402, F401, I001  (first: it silences TensorFlow's start-up)

import keras  # noqa: E402, F401


def become(words, environment, stdin, stdout, stderr):
    """Makes of a fork what `python *words` would be."""
    for number, (path, mode) in enumerate(
        ((stdin, os.O_RDONLY), (stdout, os.O_WRONLY), (stderr, os.O_WRONLY))
    ):
        os.dup2(os.open(path, mode | os.O_CREAT), number)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = words
    runpy.run_path(words[0], run_name="__main__")
    sys.exit()


gc.freeze()  # else a fork spends a second at its end on what was loaded here
for line in sys.stdin:
    child = os.fork()
    if not child:
        become(*json.loads(line))
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
