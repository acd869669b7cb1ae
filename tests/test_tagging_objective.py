"""The loss of tags, and how the scores of windows come together as those of words."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from finetuning.tagging_features import Feature
from finetuning.tagging_objective import OBJECTIVE, collect_words, tag_scores
from modeling.heads import BertTokenClassifier


@pytest.fixture
def model(tiny_config):
    keras.utils.set_random_seed(3)
    model = BertTokenClassifier(tiny_config, 5)
    model.classifier.output_weights.assign(np.random.default_rng(5).normal(size=[5, 15]))
    return model


def batch_of(length, seed=7):
    """Returns three windows with 4 to 7 tokens; those at even places count."""
    rng = np.random.default_rng(seed)
    sizes = np.array([4, 7, 6])
    mask = np.arange(length) < sizes[:, None]
    ids, labels = np.zeros([2, 3, length], int)
    ids[:, :7], labels[:, :7] = rng.integers(1, 31, [3, 7]), rng.integers(0, 5, [3, 7])
    counts = mask & (np.arange(length) % 2 == 0)
    values = dict(input_ids=ids * mask, input_mask=mask, segment_ids=0 * mask)
    values |= dict(label_ids=labels * counts, label_mask=counts, unique_ids=[1, 2, 3])
    return {name: tf.constant(np.asarray(v, np.int32)) for name, v in values.items()}


def loss_of(model, batch, weights=None):
    return OBJECTIVE.loss(model, batch, weights or OBJECTIVE.weights(batch), None)


def test_the_loss_is_the_mean_cross_entropy_of_the_words_that_count(model):
    batch = batch_of(11)
    logits = model(batch).numpy().astype(np.float64)
    counts, labels = batch["label_mask"].numpy() > 0, batch["label_ids"].numpy()
    log_sums = np.log(np.exp(logits).sum(-1))
    right = np.take_along_axis(logits, labels[..., None], -1)[..., 0]
    loss, metrics = loss_of(model, batch)
    np.testing.assert_allclose(loss, (log_sums - right)[counts].mean(), rtol=1e-6)
    hits = (logits.argmax(-1) == labels)[counts].mean()
    np.testing.assert_allclose(metrics["accuracy"], hits, rtol=1e-6)


def test_padding_does_not_matter(model):
    np.testing.assert_allclose(
        loss_of(model, batch_of(7))[0], loss_of(model, batch_of(13))[0], rtol=1e-6
    )


def test_shares_of_parts_add_up_to_the_loss_of_the_whole_batch(model):
    batch = batch_of(11)
    weights = OBJECTIVE.weights(batch)
    assert float(weights["words"]) == 2 + 4 + 3
    parts = [{n: v[i : i + 1] for n, v in batch.items()} for i in range(3)]
    shares = sum(loss_of(model, part, weights)[0] for part in parts)
    np.testing.assert_allclose(shares, loss_of(model, batch)[0], rtol=1e-6)


def test_scores_are_the_best_tag_and_its_loss_at_each_position(model):
    batch = batch_of(11)
    scores = tag_scores(model, batch)
    np.testing.assert_array_equal(scores["predictions"], model(batch).numpy().argmax(-1))
    assert scores["losses"].shape == (3, 11)
    assert scores["unique_ids"].numpy().tolist() == [1, 2, 3]


def test_words_get_the_scores_of_their_windows_in_whatever_order_these_come():
    features = [
        Feature(np.zeros(5), np.array([1, 3]), np.array([0, 1])),
        Feature(np.zeros(3), np.array([1]), np.array([4])),
        Feature(np.zeros(4), np.array([2, 1]), np.array([2, 3])),
    ]
    batches = [  # of two lengths; a window that fills a batch has number 0
        dict(
            unique_ids=np.array([3, 1]),
            predictions=np.array([[0, 13, 12, 0, 0], [0, 10, 0, 11, 0]]),
            losses=np.array([[0, 0.13, 0.12, 0, 0], [0, 0.1, 0, 0.11, 0]]),
        ),
        dict(
            unique_ids=np.array([2, 0]),
            predictions=np.array([[0, 14, 0], [9, 9, 9]]),
            losses=np.array([[0, 0.14, 0], [9, 9, 9]]),
        ),
    ]
    tags, losses = collect_words(batches, features)
    assert tags.tolist() == [10, 11, 12, 13, 14]
    np.testing.assert_allclose(losses, [0.1, 0.11, 0.12, 0.13, 0.14])
