"""The original's way from text to pre-training records, step by step, on strings.

The yardstick of the tests (same instances) and of the benchmark (same work as the original does). It is
meant to be slow and obvious: do not improve it.
"""

import random
from collections.abc import Sequence

import tensorflow as tf

from benchmarks import original_tokenizer


def create_records(
    text_file: str,
    output_file: str,
    vocab: dict[str, int],
    dupe_factor: int,
    whole_word: bool,
    seed: int,
    max_seq_length: int = 128,
    max_predictions: int = 20,
) -> None:
    """What the original's script does with its default probabilities."""
    rng = random.Random(seed)
    documents = read_documents(text_file, vocab)
    rng.shuffle(documents)
    instances = create_instances(
        documents, list(vocab), dupe_factor, whole_word, rng, max_seq_length, max_predictions
    )
    rng.shuffle(instances)
    with tf.io.TFRecordWriter(output_file) as writer:
        for instance in instances:
            example = to_example(instance, vocab, max_seq_length, max_predictions)
            writer.write(example.SerializeToString())


def read_documents(text_file, vocab):
    """Text -> documents -> sentences -> tokens."""
    documents = [[]]
    with tf.io.gfile.GFile(text_file) as file:
        for line in file:
            line = line.strip()
            if not line:
                documents.append([])
            tokens = original_tokenizer.tokenize(line, vocab)
            if tokens:
                documents[-1].append(tokens)
    return [document for document in documents if document]


def create_instances(
    documents, words: Sequence[str], dupe_factor, whole_word, rng, max_seq_length, max_predictions
):
    """Returns (tokens, segments, is_random_next, [(position, token that was there)]) of all passes."""
    instances = []
    for _ in range(dupe_factor):
        for index in range(len(documents)):
            for a, b, is_random_next in sentence_pairs(documents, index, rng, max_seq_length - 3):
                truncate(a, b, rng, max_seq_length - 3)
                tokens = ["[CLS]", *a, "[SEP]", *b, "[SEP]"]
                segments = [0] * (len(a) + 2) + [1] * (len(b) + 1)
                masked = mask(tokens, words, whole_word, rng, max_predictions)
                instances.append((tokens, segments, is_random_next, masked))
    return instances


def sentence_pairs(documents, index, rng, limit):
    """Walks the sentences of a document and yields (a, b, is_random_next)."""
    document = documents[index]
    target = limit
    if rng.random() < 0.1:
        target = rng.randint(2, limit)
    chunk = []
    length = 0
    i = 0
    while i < len(document):
        chunk.append(document[i])
        length += len(document[i])
        if i == len(document) - 1 or length >= target:
            a_end = 1
            if len(chunk) >= 2:
                a_end = rng.randint(1, len(chunk) - 1)
            a = [token for sentence in chunk[:a_end] for token in sentence]
            is_random_next = len(chunk) == 1 or rng.random() < 0.5
            if is_random_next:
                b = random_span(documents, index, rng, target - len(a))
                i -= len(chunk) - a_end
            else:
                b = [token for sentence in chunk[a_end:] for token in sentence]
            yield a, b, is_random_next
            chunk = []
            length = 0
        i += 1


def random_span(documents, index, rng, target):
    """Sentences from anywhere in another document; after ten tries it may be the same one."""
    for _ in range(10):
        other = rng.randint(0, len(documents) - 1)
        if other != index:
            break
    start = rng.randint(0, len(documents[other]) - 1)
    b = []
    for sentence in documents[other][start:]:
        b.extend(sentence)
        if len(b) >= target:
            break
    return b


def truncate(a, b, rng, limit):
    """Takes tokens off either end of the longer span, in place."""
    while len(a) + len(b) > limit:
        longer = a if len(a) > len(b) else b
        if rng.random() < 0.5:
            del longer[0]
        else:
            longer.pop()


def mask(tokens, words, whole_word, rng, max_predictions):
    """Masks `tokens` in place and returns (position, token that was there) in order."""
    candidates = []
    for position, token in enumerate(tokens):
        if token in ("[CLS]", "[SEP]"):
            continue
        if whole_word and candidates and token.startswith("##"):
            candidates[-1].append(position)
        else:
            candidates.append([position])
    rng.shuffle(candidates)
    wanted = min(max_predictions, max(1, round(len(tokens) * 0.15)))
    masked = []
    for candidate in candidates:
        if len(masked) >= wanted:
            break
        if len(masked) + len(candidate) > wanted:
            continue
        for position in candidate:
            masked.append((position, tokens[position]))
            if rng.random() < 0.8:
                tokens[position] = "[MASK]"
            elif rng.random() >= 0.5:
                tokens[position] = words[rng.randint(0, len(words) - 1)]
    return sorted(masked)


def to_example(instance, vocab, max_seq_length, max_predictions):
    """The record of an instance."""
    tokens, segments, is_random_next, masked = instance
    padding = [0] * (max_seq_length - len(tokens))
    unused = [0] * (max_predictions - len(masked))

    def ints(values):
        return tf.train.Feature(int64_list=tf.train.Int64List(value=list(values)))

    weights = [1.0] * len(masked) + [0.0] * len(unused)
    features = {
        "input_ids": ints([vocab[token] for token in tokens] + padding),
        "input_mask": ints([1] * len(tokens) + padding),
        "segment_ids": ints(segments + padding),
        "masked_lm_positions": ints([position for position, _ in masked] + unused),
        "masked_lm_ids": ints([vocab[token] for _, token in masked] + unused),
        "masked_lm_weights": tf.train.Feature(float_list=tf.train.FloatList(value=weights)),
        "next_sentence_labels": ints([int(is_random_next)]),
    }
    return tf.train.Example(features=tf.train.Features(feature=features))
