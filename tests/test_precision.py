"""Mixed precision: what stays float32, and the loss scale of float16."""

import json
import math

import keras
import numpy as np
import pytest
import tensorflow as tf

from modeling.activations import gelu, gelu_erf
from modeling.checkpoint import read_names_and_shapes
from modeling.heads import BertPretrainer
from modeling.layer_norm import LayerNorm
from pretraining.objective import OBJECTIVE
from training import strategy as strategy_module
from training.loop import train
from training.loss_scale import DynamicLossScale
from training.optimizer import AdamWeightDecay
from training.progress import Progress
from training.run_state import RunState
from training.strategy import check_precision, set_seed_and_precision
from training.train_step import Objective, train_step
from training.weights import checkpoint_variables, load_weights

BATCH = 6


@pytest.fixture(autouse=True)
def float32_after():
    yield
    keras.config.set_dtype_policy("float32")


def loss_times_factor(model, batch, weights, seed):
    """The loss of pre-training, times the largest "factor" of the replica's examples."""
    loss, metrics = OBJECTIVE.loss(model, batch, weights, seed)
    return loss * tf.reduce_max(batch["factor"]), metrics


FACTORED = Objective(OBJECTIVE.weights, loss_times_factor)


@pytest.fixture
def make_batches(pretraining_batches):
    """Makes arrays [steps, batch, ...]; of the given steps, the last example alone makes a float16 overflow."""

    def make(steps, overflowing=(), factor=1e6):
        factors = np.ones([steps, BATCH], np.float32)
        factors[list(overflowing), -1] = factor
        return {**pretraining_batches(steps, BATCH), "factor": factors}

    return make


def make_model(config, dtype, loss_scale=None, num_train_steps=20):
    """Returns a model and its optimizer, the same ones every time."""
    set_seed_and_precision(5, dtype)
    model = BertPretrainer(config)
    if dtype == "float16" and not loss_scale:
        loss_scale = DynamicLossScale()
    variables = model.trainable_variables
    return model, AdamWeightDecay(variables, 1e-2, num_train_steps, 0, guard=loss_scale)


def step_by_step(strategy, model, optimizer, arrays, num_micro_batches=1):
    """Yields the report of each step and all variables after it."""

    def step(batch):
        return train_step(model, FACTORED, optimizer, batch, 3, num_micro_batches)

    run = tf.function(lambda batch: strategy.run(step, args=(batch,)))
    dataset = tf.data.Dataset.from_tensor_slices(arrays)
    for batch in strategy.experimental_distribute_dataset(dataset):
        report = {
            name: float(strategy.experimental_local_results(value)[0])
            for name, value in run(batch).items()
        }
        variables = checkpoint_variables(model, optimizer)
        yield report, {name: variable.numpy() for name, variable in variables.items()}


def losses(config, arrays, dtype):
    model, optimizer = make_model(config, dtype)
    steps = step_by_step(tf.distribute.get_strategy(), model, optimizer, arrays)
    return [report["loss"] for report, _ in steps]


@pytest.mark.parametrize("dtype, tolerance", [("float16", 1e-2), ("bfloat16", 5e-2)])
def test_losses_follow_those_of_float32(tiny_config, make_batches, dtype, tolerance):
    arrays = {name: np.repeat(values, 20, axis=0) for name, values in make_batches(1).items()}
    ours, theirs = (losses(tiny_config, arrays, name) for name in (dtype, "float32"))
    assert theirs[-1] < 0.7 * theirs[0]
    np.testing.assert_allclose(ours, theirs, rtol=tolerance)


@pytest.mark.parametrize("num_micro_batches", [1, 3])
def test_an_overflow_on_one_replica_skips_one_update_on_all(
    strategy, tiny_config, make_batches, num_micro_batches
):
    with strategy.scope():
        model, optimizer = make_model(tiny_config, "float16")
    arrays = make_batches(3, overflowing=[1])
    steps = list(step_by_step(strategy, model, optimizer, arrays, num_micro_batches))
    (first, one), (second, two), (third, three) = steps
    changed = {name for name in one if not np.array_equal(one[name], two[name])}
    assert changed == {"global_step", "loss_scale", "good_steps", "skipped_steps"}
    assert [report["loss_scale"] for report in (first, second, third)] == [2**15, 2**15, 2**14]
    assert [report["skipped_steps"] for report in (first, second, third)] == [0, 1, 1]
    assert not math.isfinite(second["gradient_norm"]) and math.isfinite(third["gradient_norm"])
    assert [values["global_step"] for values in (one, two, three)] == [1, 2, 3]
    kernel = "bert/encoder/layer_0/attention/self/query/kernel"
    assert not np.array_equal(three[kernel], two[kernel])


@pytest.mark.slow
def test_replicas_stay_equal_through_an_overflow(tiny_config, make_batches):
    mirrored = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    with mirrored.scope():
        model, optimizer = make_model(tiny_config, "float16")
    list(step_by_step(mirrored, model, optimizer, make_batches(3, overflowing=[1])))
    for name, variable in checkpoint_variables(model, optimizer).items():
        value = variable.value if isinstance(variable, keras.Variable) else variable
        parts = mirrored.experimental_local_results(value)
        np.testing.assert_array_equal(parts[0].numpy(), parts[1].numpy(), err_msg=name)


def test_scale_halves_after_an_overflow_and_doubles_after_enough_good_steps():
    scale = DynamicLossScale(initial_scale=8.0, growth_steps=3)
    scales, updates = [], []
    for norm in (1.0, math.inf, 1.0, 1.0, 1.0, 1.0, 1.0, math.nan, 1.0, 1.0, 1.0):
        report = scale.update_if_finite(tf.constant(norm), lambda: updates.append(1))
        scales.append(float(report["loss_scale"]))
    assert scales == [8, 8, 4, 4, 4, 8, 8, 8, 4, 4, 4]
    assert [float(scale.scale), int(scale.good_steps), int(scale.skipped_steps)] == [8, 0, 2]
    assert len(updates) == 9


def test_bias_correction_counts_updates_not_skipped_steps():
    x = keras.Variable(np.zeros(1, np.float32), name="bias")
    settings = dict(bias_correction=True, guard=DynamicLossScale())
    adam = AdamWeightDecay([x], 0.1, 1000, 0, **settings)
    for gradient in (math.inf, math.inf, 0.5):
        report = adam.apply([tf.constant([gradient])])
    np.testing.assert_allclose(x, [-float(report["learning_rate"])], rtol=1e-4)


def test_clipping_is_that_of_gradients_without_the_scale(tiny_config, make_batches):
    arrays = make_batches(1)
    model, optimizer = make_model(tiny_config, "float16")
    ((ours, _),) = step_by_step(tf.distribute.get_strategy(), model, optimizer, arrays)
    model, optimizer = make_model(tiny_config, "float32")
    ((theirs, _),) = step_by_step(tf.distribute.get_strategy(), model, optimizer, arrays)
    assert ours["gradient_norm"] == pytest.approx(theirs["gradient_norm"], rel=1e-2)


@pytest.fixture
def run(tiny_config, make_batches, tmp_path):
    """Trains, or goes on training, up to a step."""

    def run(directory, until, dtype="float16", steps=7, **options):
        loss_scale = options.pop("loss_scale", None)
        model, optimizer = make_model(tiny_config, dtype, loss_scale, steps)
        state = RunState(str(tmp_path / directory))
        step = load_weights(state, None, model, optimizer)
        batches = tf.data.Dataset.from_tensor_slices(make_batches(steps, **options)).skip(step)
        train(
            model,
            FACTORED,
            optimizer,
            tf.distribute.get_strategy(),
            batches,
            state,
            Progress(state.output_dir, steps, BATCH),
            num_train_steps=until,
            seed=3,
            save_checkpoints_steps=100,
            iterations_per_loop=1,
        )
        variables = checkpoint_variables(model, optimizer)
        return {name: variable.numpy() for name, variable in variables.items()}

    return run


def test_a_resumed_run_equals_an_uninterrupted_one(run):
    whole = run("whole", 7, overflowing=[2, 5])
    run("parts", 4, overflowing=[2, 5])
    resumed = run("parts", 7, overflowing=[2, 5])
    assert (whole["loss_scale"], whole["skipped_steps"]) == (2**13, 2)
    for name, values in whole.items():
        np.testing.assert_array_equal(resumed[name], values, err_msg=name)


def test_only_float16_has_a_loss_scale_in_its_checkpoints(run, tmp_path):
    state = {"loss_scale", "good_steps", "skipped_steps"}
    for dtype, expected in (("float16", state), ("bfloat16", set())):
        run(dtype, 1, dtype)
        names = read_names_and_shapes(str(tmp_path / dtype / "model.ckpt-1"))
        assert names.keys() & state == expected


def test_a_float32_run_goes_on_in_float16_and_says_so(run, caplog):
    run("run", 3, "float32")
    with caplog.at_level("INFO", logger="absl"):
        resumed = run("run", 5, "float16")
    assert "no good_steps, loss_scale, skipped_steps: new ones" in caplog.text
    assert (resumed["global_step"], resumed["loss_scale"], resumed["good_steps"]) == (5, 2**15, 2)


def test_a_float16_run_goes_on_in_float32(run):
    before = run("run", 3, "float16")
    resumed = run("run", 5, "float32")
    assert (before["global_step"], resumed["global_step"]) == (3, 5)
    assert not resumed.keys() & {"loss_scale", "good_steps", "skipped_steps"}


def test_reports_leave_out_skipped_steps_and_count_them(run, tmp_path):
    run("run", 7, overflowing=[3])
    lines = (tmp_path / "run/metrics.jsonl").read_text().splitlines()
    last = json.loads(lines[-1])
    assert (last["loss_scale"], last["skipped_steps"]) == (2**14, 1)


def test_means_of_a_report_are_of_steps_that_were_not_skipped(tmp_path):
    history = dict(
        loss=[2.0, 3e8, 4.0],
        gradient_norm=[1.0, math.inf, 3.0],
        learning_rate=[0.1] * 3,
        tokens=[7.0] * 3,
        length=[11.0] * 3,
        input_seconds=[0.1] * 3,
        loss_scale=[8.0, 8.0, 4.0],
        skipped_steps=[0.0, 1.0, 1.0],
    )
    history = {name: np.array(values, np.float32) for name, values in history.items()}
    history["traced"] = np.zeros(3, bool)
    Progress(str(tmp_path), 10, BATCH).report(3, history, 1.0)
    report = json.loads((tmp_path / "metrics.jsonl").read_text())
    assert (report["loss"], report["gradient_norm"], report["loss_scale"]) == (3.0, 2.0, 4.0)


def test_a_gradient_that_no_scale_makes_finite_stops_the_run(run, tmp_path):
    options = dict(overflowing=range(2, 7), factor=math.nan)
    with pytest.raises(FloatingPointError, match="step 6: loss nan"):
        run("run", 7, loss_scale=DynamicLossScale(initial_scale=4.0), **options)
    assert RunState(str(tmp_path / "run")).latest().endswith("model.ckpt-0")


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_softmax_normalisation_and_loss_are_float32(tiny_config, make_batches, dtype):
    model, _ = make_model(tiny_config, dtype)
    batch = {name: tf.constant(values[0]) for name, values in make_batches(1).items()}

    @tf.function(autograph=False)
    def loss():
        return OBJECTIVE.loss(model, batch, OBJECTIVE.weights(batch), tf.constant([3, 5]))[0]

    nodes = loss.get_concrete_function().graph.as_graph_def().node
    precisions = {}
    for node in nodes:
        if node.attr["T"].type:
            precisions.setdefault(node.op, set()).add(tf.as_dtype(node.attr["T"].type).name)
    for op in ("Softmax", "Rsqrt", "SparseSoftmaxCrossEntropyWithLogits"):
        assert precisions[op] == {"float32"}, op
    assert precisions["BatchMatMulV2"] == {dtype}
    assert dtype in precisions["MatMul"]


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_variables_and_slots_are_float32(tiny_config, dtype):
    model, optimizer = make_model(tiny_config, dtype)
    slots = optimizer.first + optimizer.second
    assert {tf.as_dtype(v.dtype) for v in [*model.variables, *slots]} == {tf.float32}


@pytest.mark.parametrize("activation", [gelu, gelu_erf])
def test_gelu_has_finite_gradients_in_all_of_float16(activation):
    x = tf.constant([-65504.0, -300.0, -41.0, -1.0, 0.0, 2.0, 41.0, 300.0, 65504.0], tf.float16)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = activation(x)
    np.testing.assert_array_equal(y[:2], [0.0, 0.0])
    np.testing.assert_array_equal(y[-3:], x[-3:])
    np.testing.assert_array_equal(
        tf.gather(tape.gradient(y, x), [0, 1, 2, 6, 7, 8]), [0, 0, 0, 1, 1, 1]
    )


def test_normalisation_holds_where_the_variance_leaves_float16():
    norm = LayerNorm(2)
    norm.build()
    y = norm(tf.constant([[-3000.0, 3000.0]], tf.float16))
    np.testing.assert_array_equal(y, [[-1.0, 1.0]])


def test_float16_is_refused_on_a_tpu(monkeypatch):
    monkeypatch.setattr(strategy_module, "is_tpu", lambda strategy: True)
    with pytest.raises(ValueError, match="--dtype=float16: .* use --dtype=bfloat16"):
        check_precision("float16", tf.distribute.get_strategy())
    check_precision("bfloat16", tf.distribute.get_strategy())
