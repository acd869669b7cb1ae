"""SQuAD files are read whole, an article at a time, and what is wrong in one is said with its place."""

import gzip
import json
import os
import random
import tracemalloc

import ijson
import pytest

from finetuning import json_stream
from finetuning.squad_examples import Answer, Paragraph, Question, read_paragraphs

CONTEXT = "Mia fed 3 owls at 5."


def answer(text="3 owls", start=8, **fields):
    return {"text": text, "answer_start": start, **fields}


def question(qas_id="q1", answers=None, **fields):
    answers = [answer()] if answers is None else answers
    return {"id": qas_id, "question": "What did she feed?", "answers": answers, **fields}


def squad(*questions, context=CONTEXT):
    return {"data": [{"title": "Owls", "paragraphs": [{"context": context, "qas": questions}]}]}


def write(folder, content, name="train.json"):
    if not isinstance(content, bytes):
        content = json.dumps(content).encode()
    path = folder / name
    path.write_bytes(content)
    return str(path)


def read(*files, training=True, version_2=False):
    return list(read_paragraphs(files, for_training=training, version_2_with_negative=version_2))


@pytest.fixture(params=["yajl2_c", "python"])
def parser(request, monkeypatch):
    """Each of ijson's parsers that a user may have."""
    backend = ijson.get_backend(request.param)
    for name in ("items", "parse", "basic_parse"):
        monkeypatch.setattr(ijson, name, getattr(backend, name))


def test_paragraphs_come_in_order_with_all_that_the_file_says(tmp_path, parser):
    content = {
        "version": "1.1",
        "data": [
            {
                "title": "Owls",
                "paragraphs": [
                    {"context": CONTEXT, "qas": [question("q1"), question("q2")]},
                    {"context": "A 𝔸 b", "qas": [question("q3", [answer("b", 4)])]},
                ],
            },
            {"paragraphs": []},
            {"paragraphs": [{"context": "", "qas": []}, {"context": "x", "qas": [question("q4")]}]},
        ],
    }
    content["data"][2]["paragraphs"][1]["qas"][0]["answers"] = [answer("x", 0)]
    path = write(tmp_path, content)
    asked = ("What did she feed?", (Answer("3 owls", 8),), False, True)
    assert read(path) == [
        Paragraph(
            CONTEXT,
            (Question("q1", *asked), Question("q2", *asked)),
            f"{path}: data[0].paragraphs[0]",
            "Owls",
        ),
        Paragraph(
            "A 𝔸 b",
            (Question("q3", asked[0], (Answer("b", 4),), False, True),),
            f"{path}: data[0].paragraphs[1]",
            "Owls",
        ),
        Paragraph(
            "x",
            (Question("q4", asked[0], (Answer("x", 0),), False, True),),
            f"{path}: data[2].paragraphs[1]",
            "",
        ),
    ]


def test_files_are_read_one_after_the_other(tmp_path):
    first = write(tmp_path, squad(question("q1")), "b.json")
    second = write(tmp_path, squad(question("q2")), "a.json")
    assert [p.questions[0].qas_id for p in read(first, second)] == ["q1", "q2"]


def test_unanswerable_questions_belong_to_version_2(tmp_path):
    path = write(
        tmp_path, squad(question("q1", is_impossible=False), question("q2", [], is_impossible=True))
    )
    (paragraph,) = read(path, version_2=True)
    assert [(q.answers, q.is_impossible, q.has_answers) for q in paragraph.questions] == [
        ((Answer("3 owls", 8),), False, True),
        ((), True, True),
    ]


def test_answers_of_an_impossible_question_are_not_for_training(tmp_path):
    path = write(tmp_path, squad(question(is_impossible=True)))
    assert read(path, version_2=True)[0].questions[0].answers == ()
    assert read(path, training=False, version_2=True)[0].questions[0].answers


@pytest.mark.parametrize(
    "fields, version_2, expected",
    [
        ({"answers": [answer(), answer("owls", 10)]}, False, (2, False, True)),
        ({"answers": [answer(), answer("owls", 10)]}, True, (2, False, True)),
        ({}, False, (0, False, False)),
        ({}, True, (0, False, False)),
        ({"answers": []}, False, (0, False, False)),
        ({"answers": []}, True, (0, False, True)),
        ({"is_impossible": True}, False, (0, False, False)),
        ({"is_impossible": True}, True, (0, True, True)),
        ({"is_impossible": True, "answers": []}, True, (0, True, True)),
        ({"is_impossible": False}, True, (0, False, False)),
    ],
)
def test_prediction_takes_any_number_of_answers(fields, version_2, expected, tmp_path):
    path = write(tmp_path, squad({"id": "q1", "question": "What?", **fields}))
    (found,) = read(path, training=False, version_2=version_2)[0].questions
    assert (len(found.answers), found.is_impossible, found.has_answers) == expected


@pytest.mark.parametrize("start", [None, "8", -3, 1.5, True, ...])
def test_prediction_needs_no_answer_start(start, tmp_path):
    gold = {"text": "owls"} if start is ... else {"text": "owls", "answer_start": start}
    path = write(tmp_path, squad(question(answers=[gold])))
    assert read(path, training=False)[0].questions[0].answers == (Answer("owls", -1),)


def test_a_byte_order_mark_is_left_out(tmp_path, parser):
    content = json.dumps(squad(question())).encode()
    plain = read(write(tmp_path, content))
    assert read(write(tmp_path, b"\xef\xbb\xbf" + content)) == plain


def test_packed_files_read_the_same(tmp_path):
    content = json.dumps(squad(question())).encode()
    plain = read(write(tmp_path, content))
    assert read(write(tmp_path, gzip.compress(content))) == plain


def test_offsets_are_code_points_of_any_script(tmp_path, parser):
    context = "שָׁלוֹם e\u0301 \U0001f989\U0001f989 مرحبا 3"
    content = squad(question(answers=[answer("3", len(context) - 1)]), context=context)
    escaped = write(tmp_path, content, "escaped.json")
    plain = write(tmp_path, json.dumps(content, ensure_ascii=False).encode(), "plain.json")
    for path in (escaped, plain):
        (paragraph,) = read(path)
        assert paragraph.context == context
        assert context[paragraph.questions[0].answers[0].start] == "3"


PAIR, ESCAPED_BACKSLASH = rb"\ud83d\ude00", rb"\\ud83d \\\ud83d\ude00"


BLOCK = 64 * 1024  # bytes that ijson reads at once


@pytest.mark.parametrize("before_end", [*range(70), BLOCK - 100])
def test_escaped_pairs_may_lie_anywhere_in_a_file(before_end, tmp_path):
    start = json.dumps(squad(question(), context="\t")).encode()
    size = BLOCK - before_end - start.index(rb"\t")
    content = start.replace(rb"\t", b"x" * size + PAIR * 3 + ESCAPED_BACKSLASH)
    (paragraph,) = read(write(tmp_path, content), training=False)
    assert paragraph.context == "x" * size + "😀" * 3 + r"\ud83d \😀"


@pytest.mark.parametrize("before_end", [0, 1, 2, 5, 6, 7, 11, 12, 13, BLOCK - 100])
@pytest.mark.parametrize(
    "escapes",
    [rb"\ud83d", rb"\uDE00x", rb"\ud83d\ud83d\ude00", rb"\ud83d\u0041", rb"\ud83d\\ude00"],
)
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # ijson's own
def test_half_a_surrogate_pair_is_no_character(before_end, escapes, tmp_path, parser):
    start = json.dumps(squad(question(), context="\t")).encode()
    place = BLOCK - before_end
    size = place - start.index(rb"\t")
    path = write(tmp_path, start.replace(rb"\t", b"x" * size + escapes))
    with pytest.raises(ValueError, match=f"at byte {place} is half of a surrogate pair"):
        read(path, training=False)


@pytest.mark.parametrize(
    "content, message",
    [
        (b"", "train.json is empty"),
        (b" \n", "train.json is cut off, its JSON does not end within its 2 bytes"),
        (json.dumps(squad(question())).encode()[:-3], "train.json is cut off"),
        (b'{"data": [{"paragraphs": []},]}', "not JSON in UTF-8: byte 29, at the end of '.*},\\]'"),
        (b"{'data': []}", "not JSON in UTF-8: byte 1, at the end of"),
        (b'{"data": ["\xff"]}', "not JSON in UTF-8: byte 11"),
        (b'{"data": ["\xed\xa0\x80"]}', "not JSON in UTF-8: byte 1"),
        (json.dumps(squad(question())).encode("utf-16"), "not JSON in UTF-8: byte 0"),
        (
            gzip.compress(json.dumps(squad(question())).encode(), mtime=0)[:-9],
            "train.json is damaged or cut",
        ),
        (gzip.compress(b"{", mtime=0) + b"x", "train.json is damaged or cut off"),
        ([squad(question())], 'train.json: a list where an object with a list "data" is expected'),
        (7, "train.json: 7 where an object"),
        ({}, 'train.json: has no "data"'),
        ({"data": {"title": "x"}}, "train.json: data: an object where a list is"),
        ({"data": None}, "train.json: data: null where"),
        ({"data": []}, "train.json: data: is empty"),
        (squad(), 'train.json holds no question, every "qas" in it is empty'),
        ({"data": [{"paragraphs": []}]}, "train.json holds no question"),
        (b'{"id": "q", "context": "x"}\n{"id": "r", "context": "x"}\n', "an object in each line"),
        (
            b'{"header": {"dataset": "x", "mrqa_split": "dev"}}\n{"context": "x", "qas": []}\n',
            "looks like MRQA, convert it with convert_to_squad.py --format=mrqa",
        ),
        (
            {"Data": [{"QuestionId": "tc_1", "EntityPages": []}], "Version": 1.0},
            'has no "data" .* looks like TriviaQA, convert it with .* --format=triviaqa',
        ),
    ],
)
def test_files_that_are_not_squads_are_told_what_they_are(content, message, tmp_path):
    path = write(tmp_path, content)
    with pytest.raises(ValueError, match=message) as error:
        read(path)
    assert str(error.value).startswith(path)
    assert "\n" not in str(error.value)


def changed(change):
    """Returns a file that is right but for a change."""
    content = squad(question())
    change(content["data"][0], content["data"][0]["paragraphs"][0])
    return content


Q = r"data\[0\]\.paragraphs\[0\]\.qas\[0\]"


@pytest.mark.parametrize(
    "content, message",
    [
        ({"data": ["x"]}, r"data\[0\]: 'x' where an object is expected"),
        (changed(lambda a, p: a.pop("paragraphs")), r'data\[0\]: has no "paragraphs"'),
        (changed(lambda a, p: a.update(paragraphs={})), r"data\[0\].paragraphs: an object where a"),
        (changed(lambda a, p: a.update(paragraphs=[[]])), r"data\[0\].paragraphs\[0\]: a list wh"),
        (changed(lambda a, p: p.pop("context")), r'paragraphs\[0\]: has no "context"'),
        (
            changed(lambda a, p: p.update(context=["x"])),
            r"paragraphs\[0\].context: a list where a s",
        ),
        (changed(lambda a, p: p.pop("qas")), r'paragraphs\[0\]: has no "qas"'),
        (changed(lambda a, p: p.update(qas="x" * 99)), r"\[0\].qas: 'x{36}\.\.\. where a list"),
        (squad("x"), Q + ": 'x' where an object is expected"),
        (squad({"question": "x"}), Q + ': has no "id"'),
        (squad({"id": "x"}), Q + ': has no "question"'),
        (squad(question(7)), Q + ".id: 7 where a string is expected"),
        (squad(question(None)), Q + ".id: null where a string is expected"),
        (squad(question(question=True)), Q + ".question: true where a string"),
        (squad(question(answers={})), Q + ".answers: an object where a list is expected"),
        (squad({"id": "x", "question": "x"}), Q + ': has no "answers"'),
        (squad(question(answers=["x"])), Q + r".answers\[0\]: 'x' where an object"),
        (squad(question(answers=[{}])), Q + r'.answers\[0\]: has no "text"'),
        (squad(question(answers=[{"text": "x"}])), Q + r'.answers\[0\]: has no "answer_start"'),
        (squad(question(answers=[answer(7)])), Q + r".answers\[0\].text: 7 where a string"),
        (squad(question(answers=[answer(" ")])), Q + r".answers\[0\].text: ' ' is empty"),
        (squad(question(answers=[answer(start="8")])), Q + r".*answer_start: '8' where a whole"),
        (squad(question(answers=[answer(start=8.0)])), Q + r".*answer_start: 8.0 where a whole n"),
        (squad(question(answers=[answer(start=True)])), Q + r".*answer_start: true where a whole"),
        (squad(question(answers=[answer(start=None)])), Q + r".*answer_start: null where a whole"),
        (
            squad(question(answers=[answer(start=-1)])),
            Q + r".*start: -1 is outside the context of 20",
        ),
        (squad(question(answers=[answer(start=20)])), Q + r".*start: 20 is outside the context of"),
        (
            squad(question(answers=[answer()] * 3)),
            Q + ".answers: 3 answers where training needs ex",
        ),
        (
            squad(question(answers=[])),
            Q + ".answers: empty where .* give --version_2_with_negative",
        ),
        (squad(question(is_impossible=True)), Q + ".is_impossible: true, .*--version_2_with_negat"),
        (squad(question(is_impossible="no")), Q + ".is_impossible: 'no' where true or false"),
        (
            squad(question("q1"), question("q2"), question("q1")),
            r"qas\[2\].id: 'q1' is also the id of .*train.json: data\[0\].paragraphs\[0\].qas\[0\]",
        ),
    ],
)
def test_what_is_wrong_is_named_with_its_place(content, message, tmp_path):
    path = write(tmp_path, content)
    with pytest.raises(ValueError, match=message) as error:
        read(path)
    assert str(error.value).startswith(f"{path}: data[0]")
    assert "\n" not in str(error.value)


def test_version_2_needs_an_answer_where_the_question_has_one(tmp_path):
    for found in (question(answers=[]), question(answers=[], is_impossible=False)):
        path = write(tmp_path, squad(found))
        with pytest.raises(ValueError, match=Q + ".answers: empty .* say is_impossible"):
            read(path, version_2=True)


def test_ids_differ_over_all_files(tmp_path):
    first = write(tmp_path, squad(question("q1")), "a.json")
    second = write(tmp_path, squad(question("q0"), question("q1")), "b.json")
    with pytest.raises(ValueError) as error:
        read(first, second, training=False)
    place = "data[0].paragraphs[0].qas"
    assert f"{second}: {place}[1].id: 'q1' is also the id of {first}: {place}[0]" in str(
        error.value
    )


def test_a_file_is_named_once(tmp_path):
    path = write(tmp_path, squad(question()))
    with pytest.raises(ValueError, match="train.json is given 2 times"):
        read(path, path)


def test_a_missing_file_or_a_folder_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere.json"):
        read(str(tmp_path / "nowhere.json"))
    with pytest.raises(IsADirectoryError, match=os.path.basename(tmp_path)):
        read(str(tmp_path))


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # ijson's own
def test_any_bytes_give_paragraphs_or_one_line_of_explanation(tmp_path, parser):
    good = json.dumps(squad(question("q1"), question("q2"))).encode()
    draw = random.Random(11)
    told = 0
    for _ in range(300):
        content = bytearray(good)
        for _ in range(draw.randrange(1, 4)):
            place = draw.randrange(len(content))
            content[place : place + draw.randrange(7)] = draw.choice(
                [b"", b'"', b"[", b"}", b"\xff", b"\0", rb"\ud800", b"null", b"\n", b",", b"1e999"]
            )
        path = write(tmp_path, bytes(content))
        try:
            assert read(path, training=bool(told % 2))
        except ValueError as error:
            told += 1
            assert str(error).startswith(path)
            assert len(str(error).splitlines()) == 1
    assert told > 100


def test_one_article_is_in_memory_at_a_time(tmp_path):
    def megabyte(index):
        return {
            "paragraphs": [
                {"context": "owl " * 250_000, "qas": [question(f"{index}", [answer("owl", 0)])]}
            ]
        }

    path = write(tmp_path, {"data": [megabyte(index) for index in range(23)]})
    tracemalloc.start()
    number = sum(
        len(p.questions)
        for p in read_paragraphs([path], for_training=True, version_2_with_negative=False)
    )
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert number == 23
    assert peak < 8e6


def test_the_error_is_the_same_with_a_long_file_before_it(tmp_path):
    content = json.dumps(squad(question(), context="x" * 200_000)).encode()
    path = write(tmp_path, content[:-2] + b"!]}")
    with pytest.raises(ValueError, match=f"not JSON in UTF-8: byte {len(content) - 2}, at"):
        read(path)


def test_decimal_numbers_are_shown_as_they_stand(tmp_path):
    path = write(tmp_path, b'{"data": [{"paragraphs": 1.50}]}')
    with pytest.raises(ValueError, match=r"data\[0\].paragraphs: 1.50 where a list"):
        read(path)


def test_values_beside_the_list_are_found(tmp_path):
    path = write(tmp_path, {"data": [{"a": 1}], "Version": 1.5, "Verified": True})
    assert json_stream.read_value(path, "Verified") is True
    assert json_stream.read_value(path, "missing") is None


@pytest.mark.parametrize("name, version_2", [("train_v1", False), ("train_v2", True)])
def test_questions_are_those_of_the_original(name, version_2, shared):
    recorded = json.loads((shared / f"golden/features/squad_{name}.json").read_text())
    version = "v2.0" if version_2 else "v1.1"
    files = [str(shared / f"data/squad/train-part-{version}.json")]
    paragraphs = read(*files, version_2=version_2)
    questions = [q for paragraph in paragraphs for q in paragraph.questions]
    expected = dict.fromkeys(f["qas_id"] for f in recorded["features"])
    assert [q.qas_id for q in questions[: len(expected)]] == list(expected)
    content = json.loads((shared / f"data/squad/train-part-{version}.json").read_text())
    assert [(p.context, p.title, len(p.questions)) for p in paragraphs] == [
        (paragraph["context"], article["title"], len(paragraph["qas"]))
        for article in content["data"]
        for paragraph in article["paragraphs"]
    ]
    for paragraph in paragraphs:
        for q in paragraph.questions:
            assert q.is_impossible == (not q.answers)
            for text, start in q.answers:
                assert paragraph.context[start : start + len(text)] == text
