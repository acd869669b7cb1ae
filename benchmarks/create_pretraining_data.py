"""How fast create_pretraining_data makes records, beside a plain transcription of the original.

    python -m benchmarks.create_pretraining_data ../shared/data/corpus/gutenberg.txt \
        ../shared/data/vocab/uncased_vocab.txt --megabytes=1

Both turn the same text into the same TFRecord file, in one process, in turn; the records must be equal.
The transcription does the steps of the original one by one, on strings, as its rules are written down.
Prints the MB of text per second of each, and the ratio: median over the repetitions, and the spread.
"""

import argparse
import pathlib
import random
import statistics
import tempfile
import time
import unicodedata

import tensorflow as tf

from pretraining.documents import ReadCounts, read_documents
from pretraining.instances import InstanceMaker, create_instances
from pretraining.masking import Masker
from pretraining.records import record_writer
from tokenization import FullTokenizer

SEED = 12345
MAX_SEQ_LENGTH = 128
MAX_PREDICTIONS = 20


def ours(text: str, vocab: str, output: str, dupe_factor: int, whole_word: bool) -> None:
    """What create_pretraining_data.py does, without flags and logs."""
    rng = random.Random(SEED)
    tokenizer = FullTokenizer(vocab)
    documents = list(read_documents([text], tokenizer.encode, ReadCounts()))
    rng.shuffle(documents)
    masker = Masker(
        tokenizer.vocab,
        max_predictions_per_seq=MAX_PREDICTIONS,
        do_whole_word_mask=whole_word,
        reproduce_original=True,
    )
    cls_id, sep_id = tokenizer.vocab["[CLS]"], tokenizer.vocab["[SEP]"]
    maker = InstanceMaker(
        documents, cls_id, sep_id, masker, rng, MAX_SEQ_LENGTH, reproduce_original=True
    )
    instances = list(create_instances(maker, dupe_factor))
    rng.shuffle(instances)
    with record_writer([output], MAX_SEQ_LENGTH, MAX_PREDICTIONS) as write:
        for instance in instances:
            write(instance)


def plain(text: str, vocab: str, output: str, dupe_factor: int, whole_word: bool) -> None:
    """The original's algorithm, step by step."""
    rng = random.Random(SEED)
    ids = {}
    with tf.io.gfile.GFile(vocab) as file:
        for line in file:
            ids[line.strip()] = len(ids)
    documents = plain_documents(text, ids)
    rng.shuffle(documents)
    words = list(ids)
    instances = []
    for _ in range(dupe_factor):
        for index in range(len(documents)):
            instances += plain_instances(documents, index, words, whole_word, rng)
    rng.shuffle(instances)
    with tf.io.TFRecordWriter(output) as writer:
        for instance in instances:
            writer.write(plain_example(instance, ids).SerializeToString())


def plain_documents(text, ids):
    documents = [[]]
    with tf.io.gfile.GFile(text) as file:
        for line in file:
            line = line.strip()
            if not line:
                documents.append([])
            pieces = [piece for word in plain_words(line) for piece in plain_pieces(word, ids)]
            if pieces:
                documents[-1].append(pieces)
    return [document for document in documents if document]


def plain_words(text):
    """Words and punctuation marks, lower case, without accents."""
    cleaned = []
    for char in text:
        category = unicodedata.category(char)
        if char in " \t\n\r" or category == "Zs":
            cleaned.append(" ")
        elif ord(char) not in (0, 0xFFFD) and category not in ("Cc", "Cf"):
            cleaned.append(f" {char} " if is_cjk(ord(char)) else char)
    words = []
    for token in "".join(cleaned).split():
        token = unicodedata.normalize("NFD", token.lower())
        split = []
        for char in token:
            if unicodedata.category(char) != "Mn":
                split.append(f" {char} " if is_punctuation(char) else char)
        words += "".join(split).split()
    return words


CJK = (
    (0x4E00, 0x9FFF),
    (0x3400, 0x4DBF),
    (0x20000, 0x2A6DF),
    (0x2A700, 0x2B73F),
    (0x2B740, 0x2B81F),
    (0x2B820, 0x2CEAF),
    (0xF900, 0xFAFF),
    (0x2F800, 0x2FA1F),
)


def is_cjk(code):
    return any(first <= code <= last for first, last in CJK)


def is_punctuation(char):
    code = ord(char)
    if 33 <= code <= 47 or 58 <= code <= 64 or 91 <= code <= 96 or 123 <= code <= 126:
        return True
    return unicodedata.category(char).startswith("P")


def plain_pieces(word, ids):
    """Longest match first; a word that cannot be spelt, or of more than 200 characters, is [UNK]."""
    if len(word) > 200:
        return ["[UNK]"]
    pieces = []
    start = 0
    while start < len(word):
        for end in range(len(word), start, -1):
            piece = word[start:end] if start == 0 else "##" + word[start:end]
            if piece in ids:
                break
        else:
            return ["[UNK]"]
        pieces.append(piece)
        start = end
    return pieces


def plain_instances(documents, index, words, whole_word, rng):
    document = documents[index]
    limit = MAX_SEQ_LENGTH - 3
    target = limit
    if rng.random() < 0.1:
        target = rng.randint(2, limit)
    instances = []
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
            b = []
            random_next = len(chunk) == 1 or rng.random() < 0.5
            if random_next:
                for _ in range(10):
                    other = rng.randint(0, len(documents) - 1)
                    if other != index:
                        break
                start = rng.randint(0, len(documents[other]) - 1)
                for sentence in documents[other][start:]:
                    b.extend(sentence)
                    if len(b) >= target - len(a):
                        break
                i -= len(chunk) - a_end
            else:
                for sentence in chunk[a_end:]:
                    b.extend(sentence)
            while len(a) + len(b) > limit:
                longer = a if len(a) > len(b) else b
                if rng.random() < 0.5:
                    del longer[0]
                else:
                    longer.pop()
            tokens = ["[CLS]", *a, "[SEP]", *b, "[SEP]"]
            segments = [0] * (len(a) + 2) + [1] * (len(b) + 1)
            masked = plain_masking(tokens, words, whole_word, rng)
            instances.append((tokens, segments, random_next, masked))
            chunk = []
            length = 0
        i += 1
    return instances


def plain_masking(tokens, words, whole_word, rng):
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
    wanted = min(MAX_PREDICTIONS, max(1, round(len(tokens) * 0.15)))
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


def plain_example(instance, ids):
    tokens, segments, random_next, masked = instance
    padding = [0] * (MAX_SEQ_LENGTH - len(tokens))
    unused = [0] * (MAX_PREDICTIONS - len(masked))

    def ints(values):
        return tf.train.Feature(int64_list=tf.train.Int64List(value=list(values)))

    weights = [1.0] * len(masked) + [0.0] * len(unused)
    features = {
        "input_ids": ints([ids[token] for token in tokens] + padding),
        "input_mask": ints([1] * len(tokens) + padding),
        "segment_ids": ints(segments + padding),
        "masked_lm_positions": ints([position for position, _ in masked] + unused),
        "masked_lm_ids": ints([ids[token] for _, token in masked] + unused),
        "masked_lm_weights": tf.train.Feature(float_list=tf.train.FloatList(value=weights)),
        "next_sentence_labels": ints([int(random_next)]),
    }
    return tf.train.Example(features=tf.train.Features(feature=features))


def parsed(path):
    records = tf.data.TFRecordDataset(path).as_numpy_iterator()
    return [tf.train.Example.FromString(record) for record in records]


def first_lines(path: str, num_bytes: int) -> bytes:
    with tf.io.gfile.GFile(path, "rb") as file:
        text = file.read(num_bytes)
    return text[: text.rindex(b"\n") + 1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("corpus")
    parser.add_argument("vocab")
    parser.add_argument("--megabytes", type=float, default=1.0)
    parser.add_argument("--dupe_factor", type=int, default=10)
    parser.add_argument("--whole_word", action="store_true")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        text = f"{folder}/corpus.txt"
        size = pathlib.Path(text).write_bytes(
            first_lines(options.corpus, int(options.megabytes * 1e6))
        )
        speeds = {"ours": [], "plain": []}
        for _ in range(options.repeats):
            for name, make in (("ours", ours), ("plain", plain)):
                start = time.perf_counter()
                output = f"{folder}/{name}"
                make(text, options.vocab, output, options.dupe_factor, options.whole_word)
                speeds[name].append(size / 1e6 / (time.perf_counter() - start))
        records = parsed(f"{folder}/ours")
        if records != parsed(f"{folder}/plain"):
            raise SystemExit("the records differ")
    ratios = [a / b for a, b in zip(speeds["ours"], speeds["plain"], strict=True)]
    print(f"{size / 1e6:.2f} MB, {options.dupe_factor} passes, {len(records)} equal records")
    for name, values in (*speeds.items(), ("ratio", ratios)):
        print(f"{name:5} {statistics.median(values):.3f} ({min(values):.3f} to {max(values):.3f})")


if __name__ == "__main__":
    main()
