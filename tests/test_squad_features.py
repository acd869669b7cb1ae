"""SQuAD's questions -> features, against recorded ones and the original's algorithm transcribed."""

import itertools
import json
import random
import sys

import numpy as np
import pytest

from benchmarks import original_squad
from finetuning import squad_features
from finetuning.squad_examples import Answer, Paragraph, Question, read_paragraphs
from finetuning.squad_features import check_window_flags, encode_questions
from finetuning.windows import Windows
from tokenization import FullTokenizer

VOCAB = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "b", "##b", "c", "##c", ",", "世", "é", "e", "A"]
UNK, CLS, SEP, A, B, XB, C = 1, 2, 3, 4, 5, 6, 7
WHITE_SPACE = [" ", "\t", "\n", "\r", "\u202f", "  ", "\xa0", "\u3000", "\u2028", "\x0b", "\x85"]
WORDS = [
    "a",
    "b",
    "ab",
    "abc",
    "cb",
    "bbb",
    "a,b",
    ",",
    "A",
    "é",
    "e\u0301",
    "世a界",
    "שלום",
    "👍🏽",
]
NOTHING = ["\u200b", "\u0301", "\ufeff", "\x00", "\ufffd"]


@pytest.fixture
def tokenizer():
    return FullTokenizer.from_vocab({token: index for index, token in enumerate(VOCAB)})


@pytest.fixture(scope="module")
def full_tokenizer(shared):
    return FullTokenizer(str(shared / "data/vocab/uncased_vocab.txt"))


def question(text, answer=None, start=0, qas_id="q1", is_impossible=False):
    answers = () if answer is None else (Answer(answer, start),)
    return Question(qas_id, text, answers, is_impossible, bool(answers))


def paragraph(context, *questions, place="train.json: data[3].paragraphs[2]"):
    return Paragraph(context, questions, place, "")


def encode(paragraphs, tokenizer, lengths=(11, 3, 2), for_training=True, bad_answers=None):
    names = "max_seq_length", "doc_stride", "max_query_length"
    return encode_questions(
        paragraphs,
        tokenizer,
        **dict(zip(names, lengths, strict=True)),
        for_training=for_training,
        bad_answers=bad_answers,
    )


def features_of(*arguments, **more):
    return [feature for encoded in encode(*arguments, **more) for feature in encoded.features]


def assert_like_original(feature, expected):
    """Compares with a feature as the original makes them, padding included or not."""
    n = len(feature.input_ids)
    assert feature.num_tokens == n == expected["n"]
    assert feature.unique_id == expected["unique_id"]
    assert feature.example_index == expected["example_index"]
    assert feature.doc_span_index == expected["doc_span_index"]
    assert feature.input_ids == expected["input_ids"][:n]
    b_start = feature.query_length + 2
    assert [0] * b_start + [1] * (n - b_start) == expected["segment_ids"][:n]
    words, flags = feature.token_to_word, feature.is_max_context
    assert (words.shape, words.dtype, flags.shape, flags.dtype) == ((n,), np.int32, (n,), bool)
    inside = range(b_start, n - 1)
    assert set(np.flatnonzero(words >= 0)) == set(inside)
    assert not flags[:b_start].any() and not flags[-1]
    assert {i: int(words[i]) for i in inside} == by_position(expected["token_to_orig_map"])
    assert {i: bool(flags[i]) for i in inside} == by_position(expected["token_is_max_context"])
    positions = expected["start_position"] or 0, expected["end_position"] or 0
    assert (feature.start_position, feature.end_position) == positions
    assert feature.is_impossible is expected["is_impossible"]


def by_position(recorded):
    return {int(position): value for position, value in recorded.items()}


def test_a_question_stands_before_a_window_of_its_context(tokenizer):
    context = paragraph("ab c, a", question("c a b", "c", 3))
    (encoded,) = encode([context], tokenizer, (17, 5, 2))
    document = encoded.document
    assert (document.words, document.word_starts) == (["ab", "c,", "a"], [0, 3, 6])
    assert document.ids == [A, XB, C, 9, A]
    assert (document.piece_to_word, document.word_to_piece) == ([0, 0, 1, 1, 2], [0, 2, 4, 5])
    (feature,) = encoded.features
    assert feature.input_ids == [CLS, C, A, SEP, A, XB, C, 9, A, SEP]
    assert feature.query_length == 2
    assert feature.token_to_word.tolist() == [-1] * 4 + [0, 0, 1, 1, 2, -1]
    assert feature.is_max_context.tolist() == [False] * 4 + [True] * 5 + [False]
    assert (feature.unique_id, feature.example_index) == (1000000000, 0)
    # The answer is "c", not the word "c,".
    assert (feature.start_position, feature.end_position) == (6, 6)


def test_a_long_context_makes_overlapping_windows(tokenizer):
    context = paragraph("a b c a b c a", question("c", "b c", 8))
    features = features_of([context], tokenizer, (8, 2, 2))
    assert [feature.input_ids[3:-1] for feature in features] == [
        [A, B, C, A],
        [C, A, B, C],
        [B, C, A],
    ]
    assert [feature.unique_id - 1000000000 for feature in features] == [0, 1, 2]
    assert [(f.start_position, f.end_position) for f in features] == [(0, 0), (5, 6), (3, 4)]
    # Piece 2 has one piece on its shorter side in window 0 and none in window 1; and so on.
    assert [f.is_max_context[3:-1].tolist() for f in features] == [
        [True, True, True, False],
        [False, True, True, False],
        [False, True, True],
    ]


@pytest.mark.parametrize(
    "name, data",
    [
        ("squad_train_v1.json", "train-part-v1.1.json"),
        ("squad_train_v2.json", "train-part-v2.0.json"),
        ("squad_predict_v1/features.json", "xquad-en-v1.1.json"),
        ("squad_predict_v2/features.json", "dev-part-v2.0.json"),
    ],
)
def test_features_equal_the_recorded_ones(name, data, shared, full_tokenizer):
    recorded = json.loads((shared / "golden/features" / name).read_text())
    is_training = recorded["is_training"]
    paragraphs = read_paragraphs(
        [str(shared / "data/squad" / data)],
        for_training=is_training,
        version_2_with_negative=recorded["version_2"],
    )
    lengths = [recorded[key] for key in ("max_seq_length", "doc_stride", "max_query_length")]
    encoded = encode(paragraphs, full_tokenizer, lengths, is_training, [])
    examples = list(itertools.islice(encoded, recorded["n_examples"]))
    ours = [(e.question.qas_id, feature) for e in examples for feature in e.features]
    assert len(ours) == len(recorded["features"])
    for (qas_id, feature), expected in zip(ours, recorded["features"], strict=True):
        assert qas_id == expected["qas_id"]
        assert_like_original(feature, expected)


def hostile_text(rng, max_words):
    """White space, words and words that tokenize to nothing, in any order; or words with single spaces between."""
    if rng.random() < 0.3:
        return " ".join(rng.choices([*WORDS, *NOTHING], k=rng.randint(0, max_words)))
    parts = rng.choices([*WHITE_SPACE * 3, *WORDS * 3, *NOTHING], k=rng.randint(0, 2 * max_words))
    return "".join(parts)


def hostile_questions(rng, context):
    """Some with their answer where they say, some with another text there, some impossible."""
    for number in range(rng.randint(1, 3)):
        first, last = sorted(rng.choices(range(len(context)), k=2)) if context else (0, 0)
        answer = context[first : last + 1]
        if rng.random() < 0.2:
            answer = answer[::-1]
        is_impossible = not answer.strip() or rng.random() < 0.2
        qa = {
            "id": f"{id(context)} {number}",
            "question": hostile_text(rng, 5),
            "is_impossible": is_impossible,
            "answers": [] if is_impossible else [{"text": answer, "answer_start": first}],
        }
        yield qa


def to_paragraph(context, qas):
    questions = [
        Question(qa["id"], qa["question"], answers_of(qa), qa["is_impossible"], True) for qa in qas
    ]
    return paragraph(context, *questions)


def answers_of(qa):
    return tuple(Answer(answer["text"], answer["answer_start"]) for answer in qa["answers"])


@pytest.mark.parametrize("is_training", [True, False])
@pytest.mark.parametrize("do_lower_case", [True, False])
def test_features_of_hostile_texts_follow_from_the_rules(is_training, do_lower_case):
    rng = random.Random(17)
    vocab = {token: index for index, token in enumerate(VOCAB)}
    tokenizer = FullTokenizer.from_vocab(vocab, do_lower_case)
    num_features = num_left_out = num_split_answers = 0
    for _ in range(300):
        contexts = [hostile_text(rng, 23) for _ in range(3)]
        data = [(context, list(hostile_questions(rng, context))) for context in contexts]
        lengths = rng.randint(7, 29), rng.choice([1, 2, 5, 31]), rng.randint(1, 3)
        articles = [{"paragraphs": [{"context": context, "qas": qas} for context, qas in data]}]
        examples, left_out = original_squad.read_examples(articles, is_training, is_training)
        expected = list(
            original_squad.convert_examples_to_features(
                examples, vocab, *lengths, is_training, do_lower_case
            )
        )
        bad_answers = []
        paragraphs = [to_paragraph(*item) for item in data]
        ours = features_of(paragraphs, tokenizer, lengths, is_training, bad_answers)
        assert bad_answers == left_out
        assert len(ours) == len(expected)
        for feature, wanted in zip(ours, expected, strict=True):
            assert_like_original(feature, wanted)
        num_features += len(ours)
        num_left_out += len(left_out)
        num_split_answers += sum(feature.start_position > 0 for feature in ours)
    assert num_features > 1000
    assert not is_training or min(num_left_out, num_split_answers) > 100


@pytest.mark.slow
@pytest.mark.parametrize(
    "data, is_training, version_2",
    [
        ("train-part-v1.1.json", True, False),
        ("train-part-v2.0.json", True, True),
        ("xquad-en-v1.1.json", False, False),
        ("dev-part-v2.0.json", False, True),
    ],
)
@pytest.mark.parametrize("lengths", [(384, 128, 64), (67, 29, 11)])
def test_features_of_whole_files_follow_from_the_rules(
    data, is_training, version_2, lengths, shared, full_tokenizer
):
    path = shared / "data/squad" / data
    articles = json.loads(path.read_text())["data"]
    examples, left_out = original_squad.read_examples(articles, is_training, version_2)
    expected = original_squad.convert_examples_to_features(
        examples, full_tokenizer.vocab, *lengths, is_training
    )
    paragraphs = read_paragraphs(
        [str(path)], for_training=is_training, version_2_with_negative=version_2
    )
    bad_answers = []
    ours = features_of(paragraphs, full_tokenizer, lengths, is_training, bad_answers)
    for feature, wanted in zip(ours, expected, strict=True):
        assert_like_original(feature, wanted)
    assert bad_answers == left_out


@pytest.mark.parametrize("context", ["", " \t\n", "\u200b \u0301"])
def test_a_context_without_tokens_has_no_features(context, tokenizer):
    questions = question("a", is_impossible=True), question("b", is_impossible=True)
    empty, next_one = paragraph(context, *questions), paragraph("a", question("a", "a", 0))
    encoded = list(encode([empty, next_one], tokenizer))
    assert [len(one.features) for one in encoded] == [0, 0, 1]
    (feature,) = encoded[2].features
    assert (feature.unique_id, feature.example_index) == (1000000000, 2)


def test_offsets_are_code_points(tokenizer):
    context = "שָׁלוֹם 👍🏽 é e\u0301 c b"
    at = context.index("c")
    (feature,) = features_of([paragraph(context, question("a", "c", at))], tokenizer, (23, 5, 3))
    assert feature.input_ids[feature.start_position] == C
    assert feature.start_position == feature.end_position


def test_an_answer_in_other_white_space_is_found(tokenizer):
    context = "a b\n\n c"
    (feature,) = features_of([paragraph(context, question("a", "b \t c", 2))], tokenizer)
    assert (feature.start_position, feature.end_position) == (4, 5)


def test_a_misplaced_answer_is_left_out_and_listed(tokenizer):
    questions = (
        question("a", "a", 0, "first"),
        question("a", "c", 0, "misplaced"),
        question("a", "b", 2, "last"),
    )
    bad_answers = []
    encoded = list(encode([paragraph("a b", *questions)], tokenizer, bad_answers=bad_answers))
    assert [(e.question.qas_id, e.features[0].example_index) for e in encoded] == [
        ("first", 0),
        ("last", 1),
    ]
    assert [e.features[0].unique_id for e in encoded] == [1000000000, 1000000001]
    assert bad_answers == ["misplaced"]


def test_a_misplaced_answer_is_an_error_where_none_may_be_left_out(tokenizer):
    questions = question("a", "a", 0), question("a", "c a", 2, "q7")
    with pytest.raises(ValueError) as error:
        list(encode([paragraph("a b a c", *questions)], tokenizer))
    assert str(error.value) == (
        "train.json: data[3].paragraphs[2].qas[1].answers[0]: the answer of question 'q7' is 'c a' but at its "
        "answer_start 2 the context has 'b a': correct it, or leave such questions out with --skip_bad_answers"
    )


def test_answers_are_not_looked_at_in_prediction(tokenizer):
    context = paragraph("a b", question("a", "c", 1), question("a", is_impossible=True))
    features = features_of([context], tokenizer, for_training=False)
    assert [(f.start_position, f.end_position, f.is_impossible) for f in features] == [
        (0, 0, False)
    ] * 2


def test_a_vocabulary_without_the_special_tokens_is_refused():
    tokenizer = FullTokenizer.from_vocab({"[SEP]": 0, "a": 1})
    with pytest.raises(ValueError, match=r"--vocab_file lacks \[CLS\], \[UNK\]: it is no BERT"):
        features_of([paragraph("a", question("a", "a", 0))], tokenizer)


@pytest.mark.parametrize(
    "lengths, message",
    [
        ((67, 29, 64), "--max_seq_length=67 leaves no room .* it must be at least 68"),
        ((68, 0, 64), "--doc_stride=0 must be at least 1"),
    ],
)
def test_lengths_that_make_no_windows_are_refused(lengths, message):
    with pytest.raises(ValueError, match=message):
        check_window_flags(*lengths)
    check_window_flags(68, 1, 64)


def test_windows_cover_all_pieces_in_order():
    for total, room, step in itertools.product(range(23), range(1, 8), range(1, 8)):
        windows = Windows(total, room, min(step, room))
        spans = original_squad.document_spans(total, room, step)
        bounds = [windows.bounds(index) for index in range(windows.count)]
        assert bounds == [(start, start + length) for start, length in spans]
        for index, (start, end) in enumerate(bounds):
            sharing = [i for i, (s, e) in enumerate(bounds) if s < end and e > start]
            assert list(windows.overlapping(index)) == sharing


@pytest.mark.parametrize(
    "room, step, totals", [(382, 128, range(510, 639)), (481, 457, range(811, 853))]
)
def test_max_context_is_decided_by_rounding_as_in_the_original(room, step, totals):
    """A last window that is 100 pieces shorter has 1.00 less, which ties with a piece more on its shorter side."""
    for total in totals:
        windows = Windows(total, room, step)
        spans = original_squad.document_spans(total, room, step)
        for index, (start, length) in enumerate(spans):
            expected = [
                original_squad.is_max_context(spans, index, piece)
                for piece in range(start, start + length)
            ]
            assert windows.max_context(index).tolist() == expected


class Encoder(FullTokenizer):
    """Counts what it is asked for."""

    contexts = texts = 0

    def encode_words(self, words, text):
        self.contexts += 1
        return super().encode_words(words, text)

    def encode(self, text):
        self.texts += 1
        return super().encode(text)


def test_a_context_is_tokenized_once_and_a_question_once():
    tokenizer = Encoder.from_vocab({token: index for index, token in enumerate(VOCAB)})
    questions = [question("a b", is_impossible=True, qas_id=str(i)) for i in range(7)]
    assert len(features_of([paragraph("a b c a b c ab a", *questions)], tokenizer)) == 14
    assert (tokenizer.contexts, tokenizer.texts) == (1, 7)


def test_paragraphs_are_read_one_at_a_time(tokenizer):
    read = []

    def paragraphs():
        for number in range(5):
            read.append(number)
            yield paragraph("a", question("a", "a", 0), question("b", "a", 0))

    encoded = encode(paragraphs(), tokenizer)
    next(encoded)
    next(encoded)
    assert read == [0]


def work(num_words, tokenizer, monkeypatch):
    """Returns executed lines of the module, and windows compared, for a question answered by nearly all words."""
    lines = compared = 0

    def trace(frame, event, _):
        nonlocal lines
        lines += event == "line"
        return trace if frame.f_code.co_filename == squad_features.__file__ else None

    def overlapping(windows, index, original=Windows.overlapping):
        nonlocal compared
        found = original(windows, index)
        compared += len(found)
        return found

    context = "c " + "a b " * (num_words // 2) + "c"
    asked = question("a b", context[2:-2] + " c,", 2), question("b", context[2:-2], 2)
    bad_answers = []
    with monkeypatch.context() as patch:
        patch.setattr(Windows, "overlapping", overlapping)
        sys.settrace(trace)
        try:
            text = paragraph(context, *asked)
            features = features_of([text], tokenizer, (29, 5, 3), bad_answers=bad_answers)
            for feature in features:
                assert len(feature.token_to_word) == len(feature.is_max_context)
        finally:
            sys.settrace(None)
    assert len(bad_answers) == 1 and len(features) > num_words // 10
    return lines, compared


def test_work_grows_with_the_length_of_a_context_and_no_faster(tokenizer, monkeypatch):
    small, large = (work(size, tokenizer, monkeypatch) for size in (1000, 4000))
    assert all(4.2 * a > b > a > 1000 for a, b in zip(small, large, strict=True))
