"""Words -> windows: no word is lost, none counts twice, and each bears its tag at its first piece."""

import logging

import numpy as np
import pytest
import tensorflow as tf

from finetuning.length_records import write_by_length
from finetuning.tagging_features import encode_file, feature_rows, feature_spec
from finetuning.tagging_files import Sentence, TagFile
from tokenization import FullTokenizer

VOCAB = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *"abcdefg", "##b", "##c"]
CLS, SEP, UNK = 2, 3, 1


@pytest.fixture
def tokenizer():
    return FullTokenizer.from_vocab({token: number for number, token in enumerate(VOCAB)})


def file_of(*texts, documents=None):
    """Returns a file with a sentence for each text; `documents` numbers theirs."""
    documents = documents or [0] * len(texts)
    sentences = [
        Sentence(text.split(" "), [], [], document)
        for text, document in zip(texts, documents, strict=True)
    ]
    return TagFile("a.txt", [], None, sentences, max(documents))


def tokens(feature):
    return [VOCAB[number] for number in feature.input_ids]


def test_a_short_sentence_is_one_window_and_words_are_at_their_first_pieces(tokenizer):
    (feature,) = encode_file(file_of("abc d ab"), tokenizer, 11, False)
    assert tokens(feature) == ["[CLS]", "a", "##b", "##c", "d", "a", "##b", "[SEP]"]
    assert feature.positions.tolist() == [1, 4, 5]
    assert feature.words.tolist() == [0, 1, 2]


def test_words_are_numbered_through_the_file(tokenizer):
    features = encode_file(file_of("a b", "c", "d e"), tokenizer, 11, False)
    assert [feature.words.tolist() for feature in features] == [[0, 1], [2], [3, 4]]


def test_a_word_without_pieces_stands_as_unknown_and_is_counted(tokenizer, caplog):
    caplog.set_level(logging.INFO, logger="absl")
    (feature,) = encode_file(file_of("a \ufe0f b"), tokenizer, 11, False)
    assert feature.input_ids.tolist() == [CLS, VOCAB.index("a"), UNK, VOCAB.index("b"), SEP]
    assert feature.words.tolist() == [0, 1, 2]
    assert "1 words without a piece" in caplog.text


@pytest.mark.parametrize("length", [3, 4, 5, 7, 12])
def test_every_word_counts_once_whatever_the_length(tokenizer, length):
    rng = np.random.default_rng(length)
    texts = [" ".join(rng.choice(["a", "ab", "abc", "d", "g"], n)) for n in (1, 17, 2, 31)]
    features = encode_file(file_of(*texts), tokenizer, length, False)
    words = np.concatenate([feature.words for feature in features])
    assert sorted(words.tolist()) == list(range(51))
    spoken = " ".join(texts).split(" ")
    for feature in features:
        assert len(feature.input_ids) <= length
        firsts = [spoken[word][0] for word in feature.words]
        assert [tokens(feature)[position] for position in feature.positions] == firsts


def test_a_word_counts_where_most_context_is_around_it(tokenizer):
    features = encode_file(file_of(" ".join("abcdefga")), tokenizer, 6, False)  # 4 pieces each
    assert [tokens(feature)[1:-1] for feature in features] == [
        list("abcd"),
        list("cdef"),
        list("efga"),
    ]
    assert [feature.words.tolist() for feature in features] == [[0, 1, 2], [3, 4], [5, 6, 7]]


def test_windows_of_documents_go_over_the_ends_of_sentences_only(tokenizer):
    file = file_of("a b", "c", "d e", documents=[1, 1, 2])
    features = encode_file(file, tokenizer, 11, True)
    assert [tokens(feature)[1:-1] for feature in features] == [list("abc"), list("de")]
    assert [feature.words.tolist() for feature in features] == [[0, 1, 2], [3, 4]]


def test_documents_must_be_marked(tokenizer):
    with pytest.raises(ValueError, match="a.txt marks no documents"):
        encode_file(file_of("a b"), tokenizer, 11, True)


def test_records_hold_the_tags_where_words_count_and_nothing_elsewhere(tokenizer, tmp_path):
    features = encode_file(file_of("abc d", "e"), tokenizer, 11, False)
    rows = feature_rows(features, np.array([4, -1, 3]))
    (path,) = write_by_length(str(tmp_path), "train", rows, [11]).files.values()
    records = list(tf.data.TFRecordDataset(path).as_numpy_iterator())
    parsed = tf.io.parse_example(tf.constant(records), feature_spec(11))
    assert parsed["unique_ids"].numpy().tolist() == [1, 2]
    assert parsed["input_mask"].numpy().sum(1).tolist() == [6, 3]
    assert not parsed["segment_ids"].numpy().any()
    labels, mask = parsed["label_ids"].numpy(), parsed["label_mask"].numpy()
    assert np.argwhere(mask).tolist() == [[0, 1], [0, 4], [1, 1]]
    assert labels[mask > 0].tolist() == [4, 0, 3]
    assert not labels[mask == 0].any()
