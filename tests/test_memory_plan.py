"""The memory plan: parts that are known by counting, and settings that fit and are the best that do."""

import dataclasses

import pytest

from benchmarks.memory_plan import Case, expected_memory, measure
from benchmarks.rematerialize import in_a_process
from modeling.config import BertConfig
from training.memory_plan import Workload, choose, largest_micro_batch, training_memory

BASE = BertConfig(vocab_size=30522, type_vocab_size=2)
PARAMETERS = 109_482_240  # of BERT-base without heads, Devlin et al. 2019: "110M"
MIB = 2**20


def workload(seq_length=128, dtype="float32", compiled=True, logits=2):
    return Workload(BASE, PARAMETERS, PARAMETERS, seq_length, logits, dtype, compiled)


def test_weights_slots_and_gradients_are_counted():
    memory = training_memory(workload(), sequences=32, micro_batches=2)
    assert memory.weights == 4 * PARAMETERS
    assert memory.optimizer == 8 * PARAMETERS
    assert memory.gradients >= 4 * PARAMETERS
    assert memory.total == sum(memory)


def test_without_accumulation_there_are_no_gradients_while_activations_are_most():
    assert training_memory(workload(), sequences=64).gradients == 0
    assert training_memory(workload(), sequences=1).gradients == 4 * PARAMETERS


# (compiler's MiB: arguments + temporaries + code) of a core of a v5e, 2 micro-batches in bfloat16.
COMPILED = {
    "pre-training at 128": (128, 32, 20 * 30522, False, 1261 + 2685 + 206),
    "pre-training at 512": (512, 8, 77 * 30522, False, 1261 + 4954 + 182),
    "pre-training at 512, rematerialized": (512, 8, 77 * 30522, True, 1261 + 3207 + 241),
    "classifier at 128": (128, 32, 3, False, 1253 + 2275 + 199),
    "SQuAD at 384": (384, 10, 2 * 384, False, 1249 + 2896 + 193),
}


@pytest.mark.parametrize("case", COMPILED)
def test_the_estimate_is_near_what_the_tpu_compiler_reserves(case):
    length, sequences, logits, rematerialize, reserved = COMPILED[case]
    work = workload(length, "bfloat16", logits=logits)
    expected = training_memory(work, sequences, 2, rematerialize).total / MIB
    assert expected == pytest.approx(reserved, rel=0.15)


@pytest.mark.slow
@pytest.mark.parametrize(
    "case",
    [
        Case("float32", False, 4, 256, 256, 24, 1),
        Case("float32", False, 4, 256, 512, 8, 4),
        Case("float32", True, 6, 256, 512, 16, 1),
    ],
    ids=["plain", "accumulated", "rematerialized"],
)
def test_the_estimate_is_near_what_a_process_grows_by(case):
    parameters, measured = in_a_process(measure, case)
    assert expected_memory(case, parameters) == pytest.approx(measured, rel=0.15)


@pytest.mark.parametrize("gib", [3, 4, 5, 7, 11, 16, 40])
@pytest.mark.parametrize("compiled", [False, True])
def test_a_chosen_setting_fits_and_no_cheaper_one_does(gib, compiled):
    work, limit = workload(512, compiled=compiled), gib * 2**30
    chosen = choose(work, 48, limit)
    divisors = [n for n in range(1, 49) if not 48 % n]
    order = [(n, again) for again in (False, True) for n in divisors]
    fitting = [
        setting
        for setting in order
        if training_memory(work, 48 // setting[0], *setting).total <= limit
    ]
    assert (chosen and chosen[:2]) == (fitting[0] if fitting else None)


@pytest.mark.parametrize("gib", [4, 6, 13])
@pytest.mark.parametrize("rematerialize", [False, True])
def test_the_largest_micro_batch_fits_and_one_sequence_more_does_not(gib, rematerialize):
    limit = gib * 2**30

    def memory_of(sequences):
        return training_memory(workload(), sequences, 2, rematerialize)

    most = largest_micro_batch(memory_of, limit)
    assert most and memory_of(most).total <= limit < memory_of(most + 1).total


def test_where_nothing_fits_nothing_is_chosen():
    assert choose(workload(), 32, 2**30) is None
    assert largest_micro_batch(lambda n: training_memory(workload(), n), 2**30) == 0


@pytest.mark.parametrize("compiled", [False, True])
def test_rematerialisation_takes_less_than_keeping(compiled):
    work = workload(512, compiled=compiled)
    kept, again = (training_memory(work, 8, 1, remat).total for remat in (False, True))
    assert again < kept
    one_layer = work._replace(config=dataclasses.replace(BASE, num_hidden_layers=1))
    assert training_memory(one_layer, 8, 1, False).total < kept
