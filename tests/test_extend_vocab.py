"""Words added to a trained model: which, into which rows, with which values, and that all else stays."""

import json

import numpy as np
import pytest
from tiny_runs import classifier_flags, succeed, write_model

from modeling.bundle import read_bundle, write_bundle
from modeling.config import BertConfig
from modeling.heads import BertPretrainer
from modeling.vocabulary import add_words
from tokenization import FullTokenizer
from tokenization.extension import (
    choose_words,
    count_changes,
    place_words,
    read_word_list,
)
from tokenization.word_counts import count_words
from training.weights import checkpoint_variables

TOKENS = [
    *("[PAD] [unused0] [unused1] [UNK] [CLS] [SEP] [MASK] [unused2]".split()),
    *("the cell cells c ##ar ##d ##io ##g ##s . n e".split()),
]
EMBEDDINGS, BIAS = "bert/embeddings/word_embeddings", "cls/predictions/output_bias"


def tokenizer_of(tokens, do_lower_case=True):
    return FullTokenizer.from_vocab({token: i for i, token in enumerate(tokens)}, do_lower_case)


def word_list(tmp_path, text, **options):
    (tmp_path / "words.txt").write_text(text)
    return read_word_list(str(tmp_path / "words.txt"), tokenizer_of(TOKENS, **options))


def test_words_that_are_there_and_repeated_ones_are_told_apart(tmp_path):
    words = word_list(tmp_path, "cardio\n\n cell \r\ncardios\ncardio\n")
    assert words.new == ["cardio", "cardios"]
    assert (words.known, words.repeated) == (["cell"], ["cardio"])


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ("Cardio", "with --do_lower_case=true the tokenizer looks up 'cardio'"),
        ("caf\u00e9", "looks up 'cafe'"),
        ("il-6", "the tokenizer splits it into il - 6"),
        ("heart attack", "the tokenizer splits it into heart attack"),
        ("##ology", "the tokenizer splits it into # # ology"),
        ("\u200b", "nothing is left of it"),
        ("x" * 201, "it has more than 200 characters"),
    ],
)
def test_words_that_no_text_would_give_are_refused_by_line(tmp_path, word, reason):
    with pytest.raises(ValueError, match=r"words.txt: 1 of the words .*: line 2, '") as error:
        word_list(tmp_path, f"cardio\n{word}\n")
    assert reason in str(error.value) and "\n" not in str(error.value)


def test_a_cased_vocabulary_takes_capitals(tmp_path):
    assert word_list(tmp_path, "Caf\u00e9\n", do_lower_case=False).new == ["Caf\u00e9"]


def test_unused_rows_are_filled_before_rows_are_appended():
    tokens, rows = place_words(TOKENS, ["aa", "bb", "cc", "dd", "ee"])
    assert rows == [1, 2, 7, len(TOKENS), len(TOKENS) + 1]
    assert [tokens[row] for row in rows] == ["aa", "bb", "cc", "dd", "ee"]
    assert [t for t in tokens if t in TOKENS] == [t for t in TOKENS if "unused" not in t]
    tokens, rows = place_words(TOKENS, ["aa"])
    assert tokens == [*TOKENS[:1], "aa", *TOKENS[2:]]


def test_words_that_save_most_pieces_are_chosen():
    # Saved: cardio 4 x 3, card 5 x 2, cd 9 x 1, nu 2 x 1 as [UNK]; the and cells are whole; 77 has no letter.
    counts = count_words(["card " * 5 + "cardio " * 4 + "cd " * 9 + "the cells nu nu " + "77 " * 9])
    tokenizer = tokenizer_of(TOKENS)
    assert tokenizer.tokenize("cardio nu") == ["c", "##ar", "##d", "##io", "[UNK]"]
    assert choose_words(counts, tokenizer, 9, min_count=2) == ["cardio", "card", "cd", "nu"]
    assert choose_words(counts, tokenizer, 9, min_count=5) == ["card", "cd"]
    assert choose_words(counts, tokenizer, 1, min_count=1) == ["cardio"]


def test_words_that_begin_with_a_new_one_are_counted():
    before, after = tokenizer_of(TOKENS), tokenizer_of([*TOKENS, "car", "ne"])
    counts = count_words(["card card the cells car cardio nest"])
    assert before.tokenize("card car") == ["c", "##ar", "##d", "c", "##ar"]
    assert after.tokenize("card car") == ["car", "##d", "car"]
    assert count_changes(counts, before, after)[:2] == (2, 3)  # card, card, cardio
    # "cellsar" is cut by "cells" until a longer word hides the way.
    after = tokenizer_of([*TOKENS, "cellsa"])
    changes = count_changes(count_words(["cellsar cellsar"]), before, after)
    assert changes == (1, 2, ["cellsar"])


def test_new_rows_are_the_mean_of_their_pieces_and_others_stay():
    rng = np.random.default_rng(5)
    tensors = {
        EMBEDDINGS: rng.normal(size=(11, 3)).astype(np.float32),
        BIAS: rng.normal(size=11).astype(np.float32),
        "bert/pooler/dense/bias": np.ones(3, np.float32),
    }
    result = add_words(tensors, {2: [3, 7, 8], 12: [5], 11: [9, 9]}, 11, 13)
    for name in (EMBEDDINGS, BIAS):
        old, new = tensors[name], result[name]
        assert new.shape == (13, *old.shape[1:]) and new.dtype == np.float32
        kept = [row for row in range(11) if row != 2]
        np.testing.assert_array_equal(new[kept], old[kept])
        np.testing.assert_allclose(new[2], (old[3] + old[7] + old[8]) / 3, rtol=1e-6)
        np.testing.assert_array_equal(new[12], old[5])
        np.testing.assert_array_equal(new[11], old[9])
    assert result["bert/pooler/dense/bias"] is tensors["bert/pooler/dense/bias"]


def test_tables_of_another_size_are_refused():
    with pytest.raises(ValueError, match="word_embeddings has 7 rows, but the vocab_size .* is 9"):
        add_words({EMBEDDINGS: np.zeros([7, 2])}, {}, 9, 9)
    with pytest.raises(ValueError, match="has no bert/embeddings/word_embeddings"):
        add_words({"x": np.zeros(3)}, {}, 9, 9)


@pytest.fixture
def release(tmp_path):
    """A folder with a small model, its optimizer's slots, configuration and vocabulary."""
    folder = tmp_path / "model"
    folder.mkdir()
    write_model(folder, TOKENS)
    config = BertConfig.from_json_file(f"{folder}/bert_config.json")
    variables = checkpoint_variables(BertPretrainer(config))
    slots = {f"{EMBEDDINGS}/adam_m": np.ones([len(TOKENS), 15], np.float32)}
    write_bundle(f"{folder}/bert_model.ckpt", {**variables, **slots})
    return folder


def release_flags(folder):
    return dict(
        vocab_file=folder / "vocab.txt",
        bert_config_file=folder / "bert_config.json",
        init_checkpoint=folder / "bert_model.ckpt",
    )


def outputs(folder, text):
    """Returns the encoder's outputs for a text, by a model that was read from a folder."""
    import tensorflow as tf

    from modeling.checkpoint import load_init_checkpoint

    model = BertPretrainer(BertConfig.from_json_file(f"{folder}/bert_config.json"))
    report = load_init_checkpoint(f"{folder}/bert_model.ckpt", checkpoint_variables(model))
    assert not report.missing and not report.unexpected
    ids = FullTokenizer(f"{folder}/vocab.txt").encode(text)
    result = model.bert(tf.constant([ids]))
    return ids, result.sequence_output.numpy(), result.pooled_output.numpy()


def test_an_extended_model_computes_the_same_and_is_fine_tuned(release, tmp_path):
    (tmp_path / "words.txt").write_text("cardio\ncell\ncards\nnu\ncard\n")
    output = tmp_path / "extended"
    stdout, _ = succeed(
        "extend_vocab.py",
        **release_flags(release),
        words_file=tmp_path / "words.txt",
        output_dir=output,
    )
    assert "4 words: 3 in rows [unusedN], 1 in new ones" in stdout
    assert "1 words, already in the vocabulary: cell" in stdout
    assert "1 words, which start with what [UNK] has: nu" in stdout
    assert "left out       1 tensors of optimizer state" in stdout
    assert json.loads((output / "bert_config.json").read_text())["vocab_size"] == len(TOKENS) + 1

    old, new = (read_bundle(f"{folder}/bert_model.ckpt") for folder in (release, output))
    assert new.keys() == old.keys() - {f"{EMBEDDINGS}/adam_m"}
    c, ar, d, io = (TOKENS.index(piece) for piece in ("c", "##ar", "##d", "##io"))
    np.testing.assert_allclose(
        new[EMBEDDINGS][1], old[EMBEDDINGS][[c, ar, d, io]].mean(0), rtol=1e-5, atol=1e-8
    )
    text = "the cells . cell n e"
    for before, after in zip(outputs(release, text), outputs(output, text), strict=True):
        np.testing.assert_array_equal(before, after)
    assert FullTokenizer(f"{output}/vocab.txt").encode("cardio card") == [1, len(TOKENS)]

    for name in ("train", "dev"):
        rows = "".join(
            f"x\t{i % 2}\t\tthe cards {'cell cardio'.split()[i % 2]}\n" for i in range(9)
        )
        (tmp_path / f"{name}.tsv").write_text(rows)
    flags = dict(data_dir=tmp_path, output_dir=tmp_path / "run", max_seq_length=11)
    flags |= dict(task_name="cola", train_batch_size=4)
    succeed("run_classifier.py", **classifier_flags(output) | flags)


def test_words_are_chosen_from_a_text_and_the_effect_is_printed(release, tmp_path):
    (tmp_path / "text.txt").write_text("the card card card cards cells n e nest\n")
    files = dict(input_file=tmp_path / "text.txt", output_dir=tmp_path / "new")
    stdout, _ = succeed("extend_vocab.py", **release_flags(release), **files, min_count=3)
    assert "1 words: 1 in rows [unusedN], 0 in new ones" in stdout
    assert "cut otherwise  1 other words of the text" in stdout  # cards
    assert f"vocab_size     {len(TOKENS)} -> {len(TOKENS)}" in stdout
    assert (tmp_path / "new/vocab.txt").read_text().split()[1] == "card"
