"""Text -> flat arrays of tokens: what counts as a document, what is left out, and choosing from them."""

import numpy as np
import pytest

from pretraining import token_documents
from pretraining.text_blocks import Block
from pretraining.token_documents import TokenDocuments, concatenate, tokenize_block
from tokenization import FullTokenizer
from tokenization.graph import GraphTokenizer

VOCAB = {
    token: index
    for index, token in enumerate("[PAD] [UNK] [CLS] [SEP] [MASK] the cat sat ##s . é".split())
}


@pytest.fixture(scope="module")
def tokenizer():
    return GraphTokenizer(VOCAB)


def block(text, **fields):
    data = text if isinstance(text, bytes) else text.encode()
    return Block(0, 0, "text.txt", 1, 0, data)._replace(**fields)


def nested(documents):
    """Returns the token ids as lists of documents of sentences."""
    sentences = np.split(documents.tokens, documents.sentence_ends)[:-1]
    return [
        [sentences[n].tolist() for n in range(start, end)]
        for start, end in zip([0, *documents.document_ends], documents.document_ends, strict=False)
    ]


def flat(documents):
    sentences = [sentence for document in documents for sentence in document]
    return TokenDocuments(
        np.array([token for sentence in sentences for token in sentence], np.uint16),
        np.cumsum([len(sentence) for sentence in sentences]),
        np.cumsum([len(document) for document in documents]),
    )


DOCUMENTS = [[[5, 6], [7]], [[9]], [[5], [6, 8, 9], [7, 7]]]


@pytest.mark.parametrize("batch_bytes", [1, 7, 1 << 20])
def test_blank_lines_end_documents(tokenizer, monkeypatch, batch_bytes):
    monkeypatch.setattr(token_documents, "BATCH_BYTES", batch_bytes)
    text = "\n\nThe cat\r\nsat cats.\n \u3000\n\nCats\n\u00a0\nthe.\nsat\n\n"
    documents, counts = tokenize_block(block(text), tokenizer)
    encode = FullTokenizer.from_vocab(VOCAB).encode
    expected = [["The cat", "sat cats."], ["Cats"], ["the.", "sat"]]
    assert nested(documents) == [[encode(line) for line in lines] for lines in expected]
    assert documents.tokens.dtype == np.uint16
    assert (counts["documents"], counts["sentences"], counts["tokens"]) == (3, 5, 11)


def test_lines_without_tokens_are_counted_and_end_nothing(tokenizer):
    documents, counts = tokenize_block(block("the\n\u200d\ncat\n"), tokenizer)
    assert nested(documents) == [[[5], [6]]]
    assert counts["lines_without_tokens"] == 1


def test_a_block_without_tokens_has_no_documents(tokenizer):
    documents, counts = tokenize_block(block("\n \n\u200d\n"), tokenizer)
    assert documents.num_documents == counts["documents"] == len(documents.tokens) == 0


@pytest.mark.parametrize(
    "on_bad_utf8, expected, counted",
    [
        ("replace", [[[5], [6], [7]]], {"lines_not_utf8_repaired": 1}),
        ("skip", [[[5], [7]]], {"lines_not_utf8_skipped": 1}),
    ],
)
def test_bad_bytes_or_their_lines_are_left_out(tokenizer, on_bad_utf8, expected, counted):
    documents, counts = tokenize_block(block(b"the\nca\xfft\nsat\n"), tokenizer, on_bad_utf8)
    assert nested(documents) == expected
    assert {name: counts[name] for name in counted} == counted


@pytest.mark.parametrize(
    "data, message",
    [
        (b"the\ncat \xe4\n", r"text.txt: line 42: byte 1008 of the file, 0xe4, is not UTF-8"),
        (b"the\ncat \0\n", r"text.txt: line 42: byte 1008 of the file is zero"),
    ],
)
def test_errors_name_line_and_byte_of_the_file(tokenizer, data, message):
    with pytest.raises(ValueError, match=message):
        tokenize_block(block(data, line=41, offset=1000), tokenizer)


def test_what_is_cut_is_counted(tokenizer):
    _, counts = tokenize_block(block("the cat", cuts_document=True, cuts_line=True), tokenizer)
    assert (counts["documents_cut"], counts["lines_cut"]) == (1, 1)


def test_a_large_vocabulary_has_larger_tokens():
    vocab = VOCAB | {f"word{n}": len(VOCAB) + n for n in range(1 << 16)}
    documents, _ = tokenize_block(block("word65535"), GraphTokenizer(vocab))
    assert documents.tokens.tolist() == [vocab["word65535"]]
    assert documents.tokens.dtype == np.int32


@pytest.mark.parametrize("chosen", [[0], [2, 0], [1, 2], [], [0, 1, 2]])
def test_a_subset_has_the_chosen_documents_in_their_order(chosen):
    found = flat(DOCUMENTS).subset(np.array(chosen, np.int64))
    assert nested(found) == [DOCUMENTS[index] for index in chosen]


@pytest.mark.parametrize("start, end", [(0, 0), (0, 2), (1, 3), (2, 3)])
def test_a_stretch_has_the_documents_between(start, end):
    assert nested(flat(DOCUMENTS).stretch(start, end)) == DOCUMENTS[start:end]


def test_concatenation_puts_documents_end_to_end():
    parts = [flat(DOCUMENTS[:1]), flat(DOCUMENTS[1:]), flat(DOCUMENTS)]
    assert nested(concatenate(parts)) == DOCUMENTS + DOCUMENTS
