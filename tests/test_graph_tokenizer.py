"""The tokenizer for TensorFlow graphs, against recorded output of the original and a transcription of its rules."""

import json
import logging
import random
import unicodedata

import pytest
import tensorflow as tf

from benchmarks import original_tokenizer
from tokenization import FullTokenizer
from tokenization.graph import GraphTokenizer, deviating_characters

WORDS = (
    "[UNK] [CLS] [SEP] want ##want ##ed wa un runn ##ing , a ##a ᄒ ##ᅡ ##ᆫ σ ##σ ##ς é e 推 . ##s"
)
VOCAB = {token: index for index, token in enumerate(WORDS.split())}


def transcription(texts, vocab, do_lower_case):
    return [original_tokenizer.encode(text, vocab, do_lower_case) for text in texts]


def assert_same_ids(texts, vocab, do_lower_case):
    tokenizer = GraphTokenizer(vocab, do_lower_case)
    assert tokenizer.fallback_reason is None
    found = tokenizer.tokenize(texts).to_list()
    for text, ids, expected in zip(
        texts, found, transcription(texts, vocab, do_lower_case), strict=True
    ):
        assert ids == expected, ascii(text)


def test_ids_are_int32_rows_for_each_text():
    ids = GraphTokenizer(VOCAB).tokenize(["UNwant\u00e9d,running", "", " \t\n"])
    assert ids.dtype == tf.int32 and ids.shape == [3, None]
    assert ids.to_list() == [[7, 4, 5, 10, 8, 9], [], []]


def test_empty_batch_has_no_rows():
    assert GraphTokenizer(VOCAB).tokenize(tf.constant([], tf.string)).to_list() == []


def golden_batches(shared):
    """Yields vocabulary, casing and the recorded cases that share them: (id, text, tokens)."""
    cases = json.loads((shared / "golden/tokenization_cases.json").read_text())
    batches = {}
    for case in cases:
        text = bytes.fromhex(case["bytes_hex"]) if "bytes_hex" in case else case["text"]
        key = (tuple(case.get("vocab", [])), case["do_lower_case"])
        batches.setdefault(key, []).append((case["id"], text, case["tokens"]))
    for (tokens, do_lower_case), rows in batches.items():
        vocab = {token: index for index, token in enumerate(tokens)}
        yield vocab or str(shared / "data/vocab/uncased_vocab.txt"), do_lower_case, rows


def test_recorded_cases_of_the_original_give_its_tokens(shared):
    """But for two of the 59: a lone surrogate is no UTF-8, and a [UNK] that is not in the vocabulary has no id."""
    right, refused = 0, []
    for vocab, do_lower_case, rows in golden_batches(shared):
        tokenizer = GraphTokenizer(vocab, do_lower_case)
        names = {index: token for token, index in tokenizer.vocab.items()}
        for case, text, expected in rows:
            try:
                (ids,) = tokenizer.tokenize([text]).to_list()
            except (ValueError, tf.errors.UnknownError):
                refused.append(case)
                continue
            assert [names[index] for index in ids] == expected, case
            right += 1
    assert (right, refused) == (57, ["case-035", "case-057"])


@pytest.mark.parametrize("do_lower_case", [True, False])
def test_real_text_gives_the_originals_ids(shared, do_lower_case):
    text = (shared / "data/corpus/sample_text_original.txt").read_text(encoding="utf-8")
    vocab = FullTokenizer(str(shared / "data/vocab/uncased_vocab.txt")).vocab
    assert_same_ids(text.split("\n"), vocab, do_lower_case)


ALPHABET = (
    "aabbcdAB  \t.,$^#[]é\u0301\u0323ÉßΣσςİIıが한推丽\u200b\u00ad\x0b\0\ufffd\u00a0\u2028ﬁ½²€'·\u02b0\u0345"
    "\U0001d165\U00016ff0\U0001f600\U0002b820\U0002ceb0\ue000\u2c2f\U000113d4\u0378\U0010fffd"
)


def random_text(rng, longest, alphabet=ALPHABET):
    return "".join(rng.choices(alphabet, k=rng.randint(0, longest)))


def random_vocabulary(rng):
    """Pieces that no text can reach are among them: with punctuation, accents, CJK inside; "##"."""
    letters = [char for char in ALPHABET if not char.isspace() and char != "\0"]
    letters = [char for char in letters if char not in deviating_characters(True)]
    pieces = {"[UNK]", "##", "", *rng.sample(letters, 17)}
    pieces.update("##" + letter for letter in rng.sample(letters, 23))
    for _ in range(61):
        pieces.add("".join(rng.choices(["", "##"])) + random_text(rng, 5, letters))
    pieces = rng.sample(sorted(pieces), len(pieces))
    return {piece: index for index, piece in enumerate(pieces)}


@pytest.mark.parametrize("do_lower_case", [True, False])
def test_random_vocabularies_give_the_originals_ids(do_lower_case):
    rng = random.Random(11)
    for _ in range(13):
        texts = [random_text(rng, 29) for _ in range(151)]
        assert_same_ids(texts, random_vocabulary(rng), do_lower_case)


def test_final_sigma_is_pythons():
    texts = ["ΑΣ ΣΑΣ Σ ΣΣ ΑΣ. ΑΣ.Α ΑΣ'Α ΑΣ推 ΑΣ\u00adΑ ΑΣ\u200b ΑΣ\u0301 ΑΣ\u2028Α ΑΣ", "σας"]
    texts += ["ΑΣ\u08caΑ", "ΑΣ.\u2c2f", "Σ" * 7]  # characters that are new to one of the tables
    vocab = {piece: i for i, piece in enumerate(["[UNK]", *"ασςs", "##α", "##σ", "##ς", ".", "'"])}
    assert_same_ids(texts, vocab, True)


@pytest.mark.parametrize("do_lower_case", [True, False])
def test_words_beyond_200_characters_are_unknown(do_lower_case):
    texts = []
    for letter in ["a", "é", "e\u0301", "한", "σ", "\U0001f600"]:
        for size in (66, 67, 100, 199, 200, 201, 400, 801):
            word = letter * size
            texts += [word, f"{word} a", f"{word}\u00a0{word}\u2028{word}\t{201 * letter}\u3000a"]
            texts += [f"a {word}.{word}推{letter} a", size * "a ."]
    pieces = ["[UNK]", *"aeéσ.推\U0001f600ᄒ한\u0301", *"ᅡᆫaeéσ\U0001f600한\u0301"]
    vocab = {("##" if i > 11 else "") + piece: i for i, piece in enumerate(pieces)}
    assert len(vocab) == len(pieces)
    assert_same_ids(texts, vocab, do_lower_case)


def test_bytes_that_are_not_utf_8_are_dropped():
    rng = random.Random(5)
    some = [
        0x20,
        0x61,
        0x80,
        0x8F,
        0x90,
        0xA0,
        0xA3,
        0xBF,
        0xC0,
        0xC3,
        0xCF,
        0xE0,
        0xE6,
        0xED,
        0xF0,
    ]
    texts = [bytes(rng.choices([*some, 0x9F, 0xC1, 0xF4, 0xF5, 0xFF], k=7)) for _ in range(5003)]
    texts += [b"a\xed\xa0\x80a", b"\xf4\x90\x80\x80a", b"\xc1\xa1", b"a\xe6\x8e"]
    expected = transcription([text.decode("utf-8", "ignore") for text in texts], VOCAB, True)
    assert GraphTokenizer(VOCAB).tokenize(texts).to_list() == expected


def test_batch_gives_what_its_texts_give_alone():
    rng = random.Random(3)
    texts = ["wanted", "", "a" * 201, *(random_text(rng, 17) for _ in range(31))]
    tokenizer = GraphTokenizer(VOCAB)
    alone = [tokenizer.tokenize([text]).to_list()[0] for text in texts]
    assert tokenizer.tokenize(texts).to_list() == alone


def test_runs_in_a_data_pipeline():
    texts = ["unwanted", "Running, a", "", "é", "ΑΣ", "a" * 201, "推a"]
    batches = tf.data.Dataset.from_tensor_slices(texts).batch(3).map(GraphTokenizer(VOCAB).tokenize)
    rows = [row for batch in batches for row in batch.to_list()]
    assert rows == transcription(texts, VOCAB, True)


def test_survives_export_and_loading(tmp_path):
    def export():
        tokenizer = GraphTokenizer(VOCAB)
        module = tf.Module()
        spec = tf.TensorSpec([None], tf.string)
        module.serve = tf.function(lambda texts: tokenizer.tokenize(texts).to_tensor(), [spec])
        tf.saved_model.save(module, str(tmp_path / "saved"))

    export()
    loaded = tf.saved_model.load(str(tmp_path / "saved"))
    assert loaded.serve(tf.constant(["UNwantéd", "ΑΣ a"])).numpy().tolist() == [
        [7, 4, 5],
        [0, 11, 0],
    ]


@pytest.mark.parametrize(
    ("tokens", "reason"),
    [
        ("a b", "there is no [UNK]"),
        ("[UNK] a a b", "duplicate tokens"),
        ("[UNK] a ##" + 257 * "b", "token 2 is longer than 256 bytes: '##bbbb"),
        ("[UNK] a b\x11", "token 2 holds a blank, a surrogate, U+0000 or U+0011: 'b\\x11'"),
        ("[UNK] a\u00a0b a b", "token 1 holds a blank"),
        ("[UNK]", "tensorflow_text refuses it: No valid vocab tokens"),
        pytest.param(
            "[UNK] a \u2c5f",
            "differ on U+2C2F",
            marks=pytest.mark.skipif(
                unicodedata.unidata_version < "14", reason="U+2C2F is new in Unicode 14"
            ),
        ),
    ],
)
def test_vocabulary_that_cannot_be_represented_goes_to_python(tokens, reason, tmp_path, caplog):
    path = tmp_path / "vocab.txt"
    path.write_text("\n".join(tokens.split(" ")) + "\n", encoding="utf-8")
    python = FullTokenizer(str(path))
    caplog.clear()
    with caplog.at_level(logging.WARNING, logger="tokenization.graph"):
        tokenizer = GraphTokenizer(path)
        texts = ["a", "", "a a"]
        rows = [row for _ in range(2) for row in tokenizer.tokenize(texts).to_list()]
    (record,) = [x for x in caplog.records if x.name == "tokenization.graph"]
    assert reason in tokenizer.fallback_reason and tokenizer.fallback_reason in record.getMessage()
    assert str(path) in record.getMessage()
    assert rows == 2 * [python.encode(text) for text in texts]


def test_fallback_runs_in_a_data_pipeline():
    vocab = {"[UNK]": 3, "a": 5, "##b": 7}
    dataset = tf.data.Dataset.from_tensors(["ab", "", "b a"]).map(GraphTokenizer(vocab).tokenize)
    (batch,) = dataset
    assert batch.to_list() == [[5, 7], [], [3, 5]]
    assert dataset.element_spec.shape.as_list() == [None, None]


def test_piece_of_256_bytes_is_represented():
    vocab = {"[UNK]": 0, "é" * 128: 1, "##" + "b" * 256: 2, "b": 3, "": 4, "##": 5}
    assert_same_ids(["é" * 128, "é" * 127, "##", "b" + "b" * 199], vocab, False)
