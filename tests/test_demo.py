"""The demo's model in half precision."""

import shlex

import pytest
from tiny_runs import results, succeed

from examples import demo


@pytest.mark.slow
def test_bfloat16_reaches_the_masked_lm_loss_of_float32(tmp_path):
    def run(command, **flags):
        script, *words = shlex.split(command)
        succeed(script, *words, *(f"--{name}={value}" for name, value in flags.items()))

    files = dict(vocab_file=tmp_path / "vocab.txt")
    train, held_out = (tmp_path / f"{name}.tfrecord" for name in ("train", "heldout"))
    run(demo.VOCABULARY, **files)
    run(demo.TRAINING_RECORDS, **files, output_file=train)
    run(demo.HELD_OUT_RECORDS, **files, output_file=held_out)
    losses = {}
    for dtype in ("float32", "bfloat16"):
        records = dict(input_file=train, eval_input_file=held_out)
        run(demo.PRETRAINING, **records, output_dir=tmp_path / dtype, dtype=dtype, seed=1)
        losses[dtype] = results(tmp_path / dtype)["masked_lm_loss"]
    assert losses["bfloat16"] == pytest.approx(losses["float32"], rel=0.01)
