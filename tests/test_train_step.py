"""One update is the same as the original's, with and without XLA; tests/test_invariance.py has the rest."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from benchmarks.invariance import scale_of
from modeling.config import BertConfig
from modeling.heads import BertPretrainer
from pretraining.objective import OBJECTIVE
from training.optimizer import AdamWeightDecay
from training.train_step import train_step
from training.weights import checkpoint_variables


def run(strategy, make_model, arrays, num_micro_batches=1, compiled=False, peak=1e-2, seed=3):
    """Trains on arrays [steps, batch, ...]; returns losses, variables by name, and the number of traces."""
    steps = len(arrays["input_ids"])
    with strategy.scope():
        model = make_model()
        adam = AdamWeightDecay(model.trainable_variables, peak, 1000, 5)

    def step(batch):
        return train_step(model, OBJECTIVE, adam, batch, seed, num_micro_batches, compiled)

    @tf.function
    def replicated(batch):
        return strategy.run(step, args=(batch,))

    dataset = tf.data.Dataset.from_tensor_slices(dict(arrays))
    losses = [
        float(strategy.experimental_local_results(replicated(batch)["loss"])[0])
        for batch in strategy.experimental_distribute_dataset(dataset)
    ]
    assert len(losses) == steps
    variables = {name: v.numpy() for name, v in checkpoint_variables(model, adam).items()}
    return losses, variables, replicated.experimental_get_tracing_count()


@pytest.fixture
def make_model(tiny_config):
    """Makes equal models, without dropout unless asked."""

    def make(dropout=0.0):
        config = BertConfig(
            **{
                **vars(tiny_config),
                "hidden_dropout_prob": dropout,
                "attention_probs_dropout_prob": dropout,
            }
        )
        model = BertPretrainer(config)
        rng = np.random.default_rng(5)
        for variable in sorted(model.variables, key=lambda v: v.path):
            variable.assign(variable + rng.normal(0, 0.1, variable.shape).astype(np.float32))
        return model

    keras.utils.set_random_seed(11)
    initial = BertPretrainer(tiny_config)
    values = {v.path: v.numpy() for v in initial.variables}

    def make_equal(dropout=0.0):
        model = make(dropout)
        for variable in model.variables:
            variable.assign(values[variable.path])
        return model

    return make_equal


def test_thirty_steps_equal_the_original(shared):
    folder = shared / "golden/tiny"
    arrays = dict(np.load(folder / "pretrain_steps.npz"))
    recorded = arrays.pop("loss")
    peak = float(arrays.pop("learning_rate"))
    assert (arrays.pop("num_train_steps"), arrays.pop("num_warmup_steps")) == (30, 5)
    model = BertPretrainer(BertConfig.from_json_file(str(folder / "bert_config.json")))
    reader = tf.train.load_checkpoint(str(folder / "bert_model.ckpt"))
    for variable in model.variables:
        variable.assign(reader.get_tensor(variable.path))
    adam = AdamWeightDecay(model.trainable_variables, peak, 30, 5)

    @tf.function
    def step(batch):
        return train_step(model, OBJECTIVE, adam, batch, seed=0)["loss"]

    batches = tf.data.Dataset.from_tensor_slices(arrays)
    np.testing.assert_allclose([step(batch) for batch in batches], recorded, rtol=1e-4)
    reader = tf.train.load_checkpoint(str(folder / "pretrained.ckpt-30"))
    expected = {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}
    ours = checkpoint_variables(model, adam)
    assert set(ours) == set(expected)
    for name, values in expected.items():
        tolerance = 1e-4 * scale_of(name, expected)
        np.testing.assert_allclose(ours[name].numpy(), values, rtol=0, atol=tolerance, err_msg=name)


def test_sine_weights_train_as_recorded(sine_model):
    """Section 2.6 of the specification: five updates of a model whose weights are sines."""
    model, batch = sine_model
    adam = AdamWeightDecay(model.trainable_variables, 1e-2, 10, 2)
    step = tf.function(lambda: train_step(model, OBJECTIVE, adam, batch, seed=0))
    reports = [step() for _ in range(6)]
    recorded = [4.426456, 4.426456, 4.0265722, 3.7071884, 3.4063349, 3.123969]
    np.testing.assert_allclose([report["loss"] for report in reports], recorded, rtol=1e-5)
    assert float(reports[0]["gradient_norm"]) == pytest.approx(17.119766, rel=1e-5)


@pytest.mark.parametrize("replicas, num_micro_batches", [(1, 1), (2, 3)])
def test_xla_does_not_change_training(make_model, pretraining_batches, replicas, num_micro_batches):
    """Gradients alone are compiled on GPUs, on several of them within each replica."""
    arrays, one = pretraining_batches(5, 6), tf.distribute.get_strategy()
    two = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    plain = run(one, make_model, arrays)
    strategy = two if replicas == 2 else one
    compiled = run(strategy, make_model, arrays, num_micro_batches, compiled=True)
    np.testing.assert_allclose(compiled[0], plain[0], rtol=1e-5)


@pytest.mark.parametrize("replicas, num_micro_batches", [(2, 1), (1, 2)])
def test_replicas_and_micro_batches_draw_different_dropout(
    make_model, pretraining_batches, replicas, num_micro_batches
):
    """Both get the same examples; equal masks would give the loss of one of them alone."""
    half, one = pretraining_batches(1, 6), tf.distribute.get_strategy()
    both = {name: np.concatenate([values, values], axis=1) for name, values in half.items()}
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]) if replicas == 2 else one
    alone = run(one, lambda: make_model(0.5), half)
    together = run(strategy, lambda: make_model(0.5), both, num_micro_batches)
    assert abs(together[0][0] - alone[0][0]) > 1e-3


def test_dropout_repeats_for_a_seed_and_differs_between_seeds(make_model, pretraining_batches):
    arrays = pretraining_batches(3, 6)
    strategy = tf.distribute.get_strategy()
    first, again, other = (
        run(strategy, lambda: make_model(0.5), arrays, seed=seed)[0] for seed in (3, 3, 5)
    )
    assert first == again
    assert first != other


def test_a_step_traces_once(strategy, make_model, pretraining_batches):
    assert run(strategy, make_model, pretraining_batches(3, 6), 3)[2] == 1
