"""The model on packed rows: each sequence as if it were alone, and run_pretraining.py on records of them."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf
from test_packing import LENGTH, PREDICTIONS, random_rows
from test_run_pretraining import (  # noqa: F401
    assert_same_checkpoint,
    inputs,
    one_phase,
    reported,
    run,
    stopped_at,
)
from tiny_runs import VOCAB, write_vocab

from modeling.heads import BertPretrainer
from modeling.packed import attention_mask, first_tokens, own_positions
from pretraining.objective import evaluation_metrics, sequence_scores
from pretraining.packing import pack, packed_rows
from training.records import serialize_rows, write_records

SLOTS = 5
# Two rows of 7: sequences of 3 and 2 tokens, then of 4 and 3 that fill theirs.
MASK = tf.constant([[1, 1, 1, 1, 1, 0, 0], [1, 1, 1, 1, 1, 1, 1]])
STARTS = tf.constant([[0, 3, 7], [0, 4, 7]])


def packed(rows):
    """The rows packed, and which sequence is in which slot."""
    lengths, num_masked = rows["input_mask"].sum(1), (rows["masked_lm_weights"] > 0).sum(1)
    found = pack(lengths, num_masked, LENGTH, PREDICTIONS, SLOTS)
    return packed_rows(rows, found), found


def test_a_token_looks_at_its_own_sequence():
    blocks = [[1, 1, 1, 2, 2, 0, 0], [3, 3, 3, 3, 4, 4, 4]]
    expected = [[[int(a == b) for b in row] for a in row] for row in blocks]
    assert attention_mask(MASK, STARTS).numpy().tolist() == expected


def test_positions_restart_with_each_sequence():
    found = own_positions(STARTS, 7).numpy()
    assert found[0, :5].tolist() == [0, 1, 2, 0, 1]
    assert found[1].tolist() == [0, 1, 2, 3, 0, 1, 2]


def test_the_first_token_of_each_sequence_is_taken():
    x = tf.reshape(tf.range(14), [2, 7, 1])
    found = tf.reshape(first_tokens(x, STARTS), [2, 3]).numpy()
    assert found[:, :2].tolist() == [[0, 3], [7, 11]]


@pytest.fixture
def model(tiny_config):
    config = dataclasses.replace(tiny_config, max_position_embeddings=LENGTH)
    model = BertPretrainer(config)
    rng = np.random.default_rng(11)
    for variable in model.variables:
        variable.assign_add(rng.normal(0, 0.3, variable.shape))
    return model


def as_batch(rows):
    return {name: tf.constant(values) for name, values in rows.items()}


def test_every_sequence_is_computed_as_if_it_were_alone(model):
    rows = random_rows(17)
    alone = model.bert(*(rows[n] for n in ("input_ids", "input_mask", "segment_ids")))
    batch, slots = packed(rows)
    together = model.bert(
        *(batch[n] for n in ("input_ids", "input_mask", "segment_ids")),
        sequence_starts=tf.constant(batch["sequence_starts"]),
    )
    assert len(slots) < 17
    pooled = tf.reshape(together.pooled_output, [*slots.shape, -1]).numpy()
    for row, slot in zip(*np.nonzero(slots >= 0), strict=True):
        sequence, start = slots[row, slot], batch["sequence_starts"][row, slot]
        length = rows["input_mask"][sequence].sum()
        np.testing.assert_allclose(
            together.sequence_output[row, start : start + length],
            alone.sequence_output[sequence, :length],
            atol=2e-5,
        )
        np.testing.assert_allclose(pooled[row, slot], alone.pooled_output[sequence], atol=2e-5)


def test_metrics_of_packed_rows_are_those_of_their_sequences(model):
    rows = random_rows(19)
    batch, _ = packed(rows)
    ours, expected = (
        evaluation_metrics([{n: v.numpy() for n, v in sequence_scores(model, as_batch(b)).items()}])
        for b in (batch, rows)
    )
    assert "next_sentence_accuracy" in expected
    assert ours.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(ours[name], value, rtol=1e-5, err_msg=name)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A folder with a vocabulary, and packed records with masks and without."""
    folder = tmp_path_factory.mktemp("packed")
    write_vocab(folder / "vocab.txt", VOCAB)
    rows = random_rows(101)
    for name in ("input_ids", "masked_lm_ids"):
        rows[name] %= len(VOCAB)
    batch, _ = packed(rows)
    unmasked = {name: v for name, v in batch.items() if not name.startswith("masked_lm")}
    for name, features in (("static", batch), ("dynamic", unmasked)):
        write_records(str(folder / name), serialize_rows(features))
    return folder


def flags(folder, directory, **changes):
    lengths = dict(max_seq_length=LENGTH, max_predictions_per_seq=PREDICTIONS)
    return one_phase(folder, directory, do_eval="true", max_eval_steps=3, **lengths, **changes)


def test_packed_records_are_recognised(run, inputs, files, tmp_path):  # noqa: F811
    assert not run(flags(inputs, tmp_path, input_file=files / "static"))
    results = (tmp_path / "eval_results.txt").read_text()
    assert "next_sentence_accuracy" in results and "global_step = 5" in results
    for line in reported(tmp_path).values():
        # There are 61 rows of 101 sequences, and no more of them than tokens for full rows.
        assert line["sequences_per_second"] > 1.3 * line["tokens_per_second"] / LENGTH


def test_masks_of_packed_rows_are_drawn_anew_and_resume(run, inputs, files, tmp_path):  # noqa: F811
    drawn = dict(input_file=files / "dynamic", vocab_file=files / "vocab.txt", masking="whole_word")
    assert not run(flags(inputs, tmp_path / "whole", **drawn))
    stopped_at(tmp_path / "whole", tmp_path / "resumed", 2)
    assert not run(flags(inputs, tmp_path / "resumed", **drawn))
    assert_same_checkpoint(tmp_path / "whole", tmp_path / "resumed", 5)


def test_packed_and_unpacked_records_are_not_mixed(run, inputs, files, tmp_path):  # noqa: F811
    both = f"{files / 'static'},{inputs / '23.tfrecord'}"
    changes = dict(input_file=both, max_predictions_per_seq=PREDICTIONS)
    error = run(one_phase(inputs, tmp_path / "run", max_seq_length=LENGTH, **changes))
    assert "23.tfrecord" in error and "sequence_starts" in error
