"""MRQA's and TriviaQA's formats become SQuAD's, with every offset in its place and every question counted."""

import gzip
import json
import tracemalloc

import pytest
from tiny_runs import run, succeed

from finetuning.qa_formats import Conversion, read_mrqa, read_triviaqa, write_squad
from finetuning.squad_examples import read_paragraphs

OWLS = "[PAR] 🦉🦉 Ten owls sat. The Ten Owls left at 5 p.m. [PAR] Ünal fed them."


def span(text, context=OWLS, occurrence=0):
    """Returns [first, last] code point of a text, both included, as MRQA writes them."""
    start = -1
    for _ in range(occurrence + 1):
        start = context.index(text, start + 1)
    return [start, start + len(text) - 1]


def mrqa_question(qid, detected, answers, **fields):
    return {
        "qid": qid,
        "question": f"What of {qid}?",
        "question_tokens": [["What", 0], ["?", 7]],
        "detected_answers": [
            {"text": text, "char_spans": spans, "token_spans": [[0, 1]] * len(spans)}
            for text, spans in detected
        ],
        "answers": answers,
        **fields,
    }


def mrqa_lines(*questions, context=OWLS):
    header = {"header": {"dataset": "Owls", "split": "train"}}
    tokens = [[word, context.index(word)] for word in context.split()]
    line = {"id": "", "context": context, "context_tokens": tokens, "qas": questions}
    return [header, line]


MRQA = mrqa_lines(
    mrqa_question(
        "q1",
        [
            ("ten owls", [span("Ten owls"), span("The Ten Owls")]),
            ("5 p.m.", [span("5 p.m.")]),
        ],
        ["ten owls", "at five", "5 p.m."],
    ),
    mrqa_question("q2", [("Ünal", [span("Ünal")])], ["Ünal"]),
    mrqa_question("q3", [], ["the moon"]),
    mrqa_question("q4", [("owls", [[1, 2]])], ["owls"]),
)
MRQA.append(mrqa_lines(mrqa_question("q5", [("b", [[2, 2]])], ["b"]), context="a b")[1])


def write_lines(folder, lines, name="owls.jsonl"):
    content = "".join(f"{json.dumps(line)}\n" for line in lines).encode()
    path = folder / name
    path.write_bytes(gzip.compress(content, mtime=0) if name.endswith(".gz") else content)
    return str(path)


def page(name, **fields):
    wiki = {"DocSource": "TagMe", "LinkProbability": "0.02934", "Rho": "0.22520"}
    return {"Filename": f"{name}.txt", "Title": name.replace("_", " "), **wiki, **fields}


def result(name, **fields):
    web = {"Description": "...", "DisplayUrl": "owls.org", "Rank": 0, "Url": "http://owls.org/"}
    return {"Filename": name, "Title": "All about owls", **web, **fields}


def trivia(question_id="tc_1", aliases=("ten owls", "owl"), pages=(), results=(), **fields):
    answer = {
        "Aliases": ["Ten Owls!", "Owl"],
        "NormalizedAliases": list(aliases),
        "NormalizedValue": "owl",
        "Type": "WikipediaEntity",
        "Value": "Owl",
    }
    return {
        "Answer": answer,
        "EntityPages": list(pages),
        "Question": "Who sat there?",
        "QuestionId": question_id,
        "QuestionSource": "http://www.triviacountry.com/",
        "SearchResults": list(results),
        **fields,
    }


def triviaqa(*items, domain="Wikipedia", verified=False):
    return {
        "Data": list(items),
        "Domain": domain,
        "Split": "train",
        "VerifiedEval": verified,
        "Version": 1.0,
    }


@pytest.fixture
def evidence(tmp_path):
    """The folder of documents."""
    for name, text in {
        "wikipedia/Owl.txt": "\n  A scowl.\r\n\nTen OWLS, \tten owls.\n",
        "wikipedia/Bat.txt": "Bats hang.",
        "web/35/35_9.txt": "İ 🦉 ten Owls",
    }.items():
        (tmp_path / "evidence" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "evidence" / name).write_bytes(text.encode())
    return tmp_path / "evidence"


def convert_mrqa(path, training):
    conversion = Conversion(training)
    return list(read_mrqa([path], conversion)), conversion


def convert_triviaqa(content, evidence, training=True, max_words=800):
    path = evidence.parent / "qa.json"
    path.write_text(json.dumps(content))
    conversion = Conversion(training)
    articles = list(read_triviaqa([str(path)], conversion, str(evidence), max_words))
    return articles, conversion


def asked(articles):
    """Returns {id: [(text, start), ...]}, after a check that answers with a start stand there."""
    found = {}
    for article in articles:
        (paragraph,) = article["paragraphs"]
        for question in paragraph["qas"]:
            answers = [(a["text"], a["answer_start"]) for a in question.get("answers", [])]
            for text, start in answers:
                assert start == -1 or paragraph["context"][start : start + len(text)] == text
            found[question["id"]] = answers
    return found


@pytest.mark.parametrize("name", ["owls.jsonl", "owls.jsonl.gz"])
def test_training_takes_the_first_occurrence_of_the_first_answer(name, tmp_path):
    articles, conversion = convert_mrqa(write_lines(tmp_path, MRQA, name), training=True)
    assert asked(articles) == {
        "q1": [("Ten owls", OWLS.index("Ten owls"))],
        "q2": [("Ünal", OWLS.index("Ünal"))],
        "q5": [("b", 2)],
    }
    assert [article["title"] for article in articles] == ["Owls", "Owls"]
    assert articles[0]["paragraphs"][0]["context"] == OWLS
    assert articles[0]["paragraphs"][0]["qas"][0]["question"] == "What of q1?"
    assert str(conversion) == "3 of 5 questions; left out: 2 without an answer in the context"


def test_evaluation_takes_all_answers_that_count_as_right(tmp_path):
    articles, conversion = convert_mrqa(write_lines(tmp_path, MRQA), training=False)
    assert asked(articles) == {
        "q1": [
            ("Ten owls", OWLS.index("Ten owls")),
            ("5 p.m.", OWLS.index("5")),
            ("ten owls", -1),
            ("at five", -1),
        ],
        "q2": [("Ünal", OWLS.index("Ünal"))],
        "q3": [("the moon", -1)],
        "q4": [("owls", -1)],
        "q5": [("b", 2)],
    }
    assert str(conversion) == "5 of 5 questions"


def test_squads_own_questions_survive_the_way_through_mrqas_format(tmp_path, shared):
    squad = str(shared / "data/squad/train-part-v1.1.json")
    expected = list(read_paragraphs([squad], for_training=True, version_2_with_negative=False))
    lines = []
    for context, questions, _, _ in expected:
        detected = [[(t, [[s, s + len(t) - 1]]) for t, s in q.answers] for q in questions]
        made = [
            mrqa_question(q.qas_id, found, [q.answers[0].text], question=q.text)
            for q, found in zip(questions, detected, strict=True)
        ]
        lines.append({"context": context, "qas": made})
    path, output = write_lines(tmp_path, lines), str(tmp_path / "squad.json")
    conversion = Conversion(for_training=True)
    write_squad(output, read_mrqa([path], conversion), conversion)
    found = list(read_paragraphs([output], for_training=True, version_2_with_negative=False))
    assert conversion.read == conversion.kept == 3807
    assert [p[:2] for p in found] == [p[:2] for p in expected]


@pytest.mark.parametrize("shift", [[-1, -1], [0, 1], [0, -1], [2, 2], [99, 99], [-99, -99]])
def test_spans_that_do_not_hold_their_text_are_no_answers(shift, tmp_path):
    first, last = span("Ünal")
    question = mrqa_question("q", [("Ünal", [[first + shift[0], last + shift[1]]])], ["Ünal"])
    path = write_lines(tmp_path, mrqa_lines(question))
    # A blank more is still the same text.
    assert convert_mrqa(path, training=True)[1].kept == (shift == [0, 1])


def test_mrqa_needs_no_header_and_may_have_no_answers(tmp_path):
    question = {"qid": "q", "question": "What?"}
    path = write_lines(tmp_path, [{"context": "a b", "qas": [question]}, *MRQA[1:]])
    articles, conversion = convert_mrqa(path, training=False)
    assert "answers" not in articles[0]["paragraphs"][0]["qas"][0]
    assert (conversion.kept, articles[0]["title"]) == (6, "")


def test_the_start_of_a_document_is_the_context(evidence):
    items = [trivia(pages=[page("Owl")], results=[result("35/35_9.txt")])]
    articles, conversion = convert_triviaqa(triviaqa(*items), evidence)
    whole = "A scowl.\r\n\nTen OWLS, \tten owls."
    assert [a["paragraphs"][0]["context"] for a in articles] == [whole, "İ 🦉 ten Owls"]
    assert [a["title"] for a in articles] == ["Owl", "All about owls"]
    assert str(conversion) == "2 of 2 questions"
    for max_words, context in {1: "A", 3: "A scowl.\r\n\nTen", 6: whole, 7: whole}.items():
        articles, _ = convert_triviaqa(triviaqa(*items), evidence, False, max_words)
        assert articles[0]["paragraphs"][0]["context"] == context


def test_the_first_alias_in_the_context_is_the_answer(evidence):
    items = [
        trivia("tc_1", ["ten owls", "owl"], [page("Owl")], [result("35/35_9.txt")]),
        trivia("tc_2", ["", "moon", "owl", "ten owls"], [page("Owl")]),
    ]
    articles, _ = convert_triviaqa(triviaqa(*items), evidence)
    assert asked(articles) == {
        "tc_1--Owl.txt": [("Ten OWLS", 11)],
        "tc_1--35/35_9.txt": [("ten Owls", 4)],  # after a letter that is two in lower case
        "tc_2--Owl.txt": [("owl", 4)],  # within a word, as the authors find it
    }


def test_evaluation_takes_all_aliases(evidence):
    item = trivia("tc_1", ["moon", "ten owls", "owl"], [page("Owl"), page("Bat")])
    articles, conversion = convert_triviaqa(triviaqa(item), evidence, training=False)
    assert asked(articles) == {
        "tc_1--Owl.txt": [("Ten OWLS", 11), ("moon", -1), ("ten owls", -1), ("owl", -1)],
        "tc_1--Bat.txt": [("moon", -1), ("ten owls", -1), ("owl", -1)],
    }
    assert str(conversion) == "2 of 2 questions"


def test_a_test_set_has_no_answers(evidence):
    item = trivia(pages=[page("Owl")])
    del item["Answer"], item["SearchResults"]
    articles, _ = convert_triviaqa(triviaqa(item), evidence, training=False)
    assert asked(articles) == {"tc_1--Owl.txt": []}
    assert convert_triviaqa(triviaqa(item), evidence)[1].kept == 0


def test_what_is_left_out_is_counted_by_reason(evidence):
    items = [
        trivia("tc_1", pages=[page("Owl"), page("Bat"), page("Owl"), page("Elk")]),
        trivia("tc_2", pages=[page("Owl")], results=[result("1/1_1.txt")]),
    ]
    _, conversion = convert_triviaqa(triviaqa(*items), evidence)
    assert str(conversion) == (
        "2 of 6 questions; left out: 1 without an answer in the context, 1 with an id that was there before, "
        "2 without the document"
    )


@pytest.mark.parametrize(
    "domain, verified, kept",
    [
        ("Web", True, ["tc_1--Owl.txt"]),
        ("Wikipedia", True, ["tc_1--Owl.txt", "tc_1--Bat.txt"]),
        ("Web", False, ["tc_1--Owl.txt", "tc_1--Bat.txt", "tc_2--Owl.txt"]),
    ],
)
def test_verified_sets_hold_more_than_their_verified_part(domain, verified, kept, evidence):
    items = [
        trivia(
            "tc_1",
            pages=[
                page("Owl", DocPartOfVerifiedEval=True),
                page("Bat", DocPartOfVerifiedEval=False),
            ],
            QuestionPartOfVerifiedEval=True,
        ),
        trivia(
            "tc_2",
            pages=[page("Owl", DocPartOfVerifiedEval=True)],
            QuestionPartOfVerifiedEval=False,
        ),
    ]
    content = triviaqa(*items, domain=domain, verified=verified)
    articles, conversion = convert_triviaqa(content, evidence, training=False)
    assert list(asked(articles)) == kept
    assert conversion.dropped["not in the verified part"] == 3 - len(kept)


def test_scripts_output_is_read_as_squad(tmp_path, evidence):
    write_lines(tmp_path, MRQA, "a.jsonl")
    write_lines(tmp_path, [MRQA[0], *mrqa_lines(mrqa_question("q9", [], ["x"]))], "b.jsonl.gz")
    train, dev = tmp_path / "new/train.json", tmp_path / "dev.json"
    flags = dict(format="mrqa", input_file=f"{tmp_path}/*.jsonl,{tmp_path}/b.jsonl.gz")
    stdout, _ = succeed("convert_to_squad.py", "--for_training", output_file=train, **flags)
    assert stdout == f"{train}: 3 of 6 questions; left out: 3 without an answer in the context\n"
    stdout, _ = succeed("convert_to_squad.py", output_file=dev, **flags)
    assert stdout == f"{dev}: 6 of 6 questions\n"

    paragraphs = list(
        read_paragraphs([str(train)], for_training=True, version_2_with_negative=False)
    )
    questions = [(p, q) for p in paragraphs for q in p.questions]
    assert [q.qas_id for _, q in questions] == ["q1", "q2", "q5"]
    for paragraph, question in questions:
        ((text, start),) = question.answers
        assert paragraph.context[start : start + len(text)] == text
    paragraphs = list(
        read_paragraphs([str(dev)], for_training=False, version_2_with_negative=False)
    )
    assert [len(q.answers) for p in paragraphs for q in p.questions] == [4, 1, 1, 1, 1, 1]
    # What the original asks of a file for training.
    for article in json.loads(train.read_text())["data"]:
        for paragraph in article["paragraphs"]:
            assert type(paragraph["context"]) is str
            for question in paragraph["qas"]:
                assert {"id", "question", "answers"} == set(question)
                assert len(question["answers"]) == 1


def test_script_converts_triviaqa(tmp_path, evidence):
    qa = tmp_path / "qa.json.gz"
    content = triviaqa(trivia(pages=[page("Owl"), page("Bat")], results=[result("35/35_9.txt")]))
    qa.write_bytes(gzip.compress(json.dumps(content, indent=2).encode()))
    flags = dict(format="triviaqa", input_file=qa, evidence_dir=evidence)
    output = tmp_path / "train.json"
    stdout, _ = succeed(
        "convert_to_squad.py", "--for_training", output_file=output, max_words=3, **flags
    )
    assert stdout == f"{output}: 1 of 3 questions; left out: 2 without an answer in the context\n"
    stdout, _ = succeed("convert_to_squad.py", output_file=output, **flags)
    assert stdout == f"{output}: 3 of 3 questions\n"
    paragraphs = read_paragraphs([str(output)], for_training=False, version_2_with_negative=False)
    assert [q.qas_id for p in paragraphs for q in p.questions] == [
        "tc_1--Owl.txt",
        "tc_1--Bat.txt",
        "tc_1--35/35_9.txt",
    ]
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "evidence",
        "qa.json.gz",
        "train.json",
    ]


@pytest.mark.parametrize(
    "lines, message",
    [
        ([{"context": "x"}], 'line 1: has no "qas"'),
        ([{"qas": []}], 'line 1: has no "context"'),
        (["x"], "line 1: 'x' where an object is expected"),
        ([{"header": 7}], "line 1.header: 7 where an object"),
        (mrqa_lines({"question": "x"}), r'line 2.qas\[0\]: has no "qid"'),
        (mrqa_lines(mrqa_question(7, [], [])), r"line 2.qas\[0\].qid: 7 where a string"),
        (mrqa_lines({"qid": "x"}), r'line 2.qas\[0\]: has no "question"'),
        (mrqa_lines(mrqa_question("q", [], "x")), r"qas\[0\].answers: 'x' where a list"),
        (mrqa_lines(mrqa_question("q", [], [7])), r"qas\[0\].answers\[0\]: 7 where a string"),
        (mrqa_lines(mrqa_question("q", [(7, [])], [])), r"detected_answers\[0\].text: 7 where"),
        (mrqa_lines(mrqa_question("q", [("x", {})], [])), r"char_spans: an object where a list"),
        (mrqa_lines(mrqa_question("q", [("x", [7])], [])), r"char_spans\[0\]: 7 where \[start, e"),
        (mrqa_lines(mrqa_question("q", [("x", [[1]])], [])), r"char_spans\[0\]: \[1\] where \[sta"),
        (mrqa_lines(mrqa_question("q", [("x", [[1.0, 2]])], [])), r"\[1.0, 2\] where \[start, end"),
        (mrqa_lines(mrqa_question("q", [("x", [[True, 2]])], [])), r"\[True, 2\] where \[start"),
        (mrqa_lines(mrqa_question("q", [], ["\ud800"])), r"answers\[0\]: character 0 is half of a"),
        ([{"context": "x\udc00", "qas": []}], "line 1.context: character 1 is half of a surrogate"),
        ([{"header": {"dataset": "\udc00"}}], "line 1.header: character 0 is half of a surrogate"),
        ([triviaqa()], 'line 1: has no "context"'),
    ],
)
def test_lines_that_are_not_mrqas_are_named(lines, message, tmp_path):
    path = write_lines(tmp_path, lines)
    with pytest.raises(ValueError, match=message) as error:
        convert_mrqa(path, training=True)
    assert str(error.value).startswith(f"{path}: line ")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "content, message",
    [
        (b'{"header": {}}\n{"context": "x",\n', "line 2: not JSON: .*column 17"),
        (b'{"header": "\xff"}', "line 1: not JSON: .*0xff"),
        (b"[" * 100_000, "line 1: not JSON"),
        (gzip.compress(b'{"header": {}}\n', mtime=0)[:-7], "damaged or cut off"),
    ],
)
def test_lines_that_are_not_json_are_named(content, message, tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message) as error:
        convert_mrqa(str(path), training=True)
    assert str(error.value).startswith(str(path))


@pytest.mark.parametrize(
    "item, message",
    [
        (["x"], r"Data\[0\]: a list where an object"),
        ({"Question": "x"}, r'Data\[0\]: has no "QuestionId"'),
        ({"QuestionId": "x"}, r'Data\[0\]: has no "Question"'),
        (trivia(Answer="x"), r"Data\[0\].Answer: 'x' where an object"),
        (trivia(Answer={"NormalizedAliases": "x"}), r"Answer.NormalizedAliases: 'x' where a list"),
        (trivia(aliases=[None]), r"Answer.NormalizedAliases\[0\]: null where a string"),
        (trivia(EntityPages={}), r"Data\[0\].EntityPages: an object where a list"),
        (trivia(pages=["x"]), r"Data\[0\].EntityPages\[0\]: 'x' where an object"),
        (trivia(results=[{}]), r'Data\[0\].SearchResults\[0\]: has no "Filename"'),
    ],
)
def test_items_that_are_not_triviaqas_are_named(item, message, evidence):
    with pytest.raises(ValueError, match=message) as error:
        convert_triviaqa(triviaqa(item), evidence)
    assert str(error.value).startswith(f"{evidence.parent / 'qa.json'}: Data[0]")
    assert "\n" not in str(error.value)


def test_files_without_data_are_told(evidence):
    for content in ({"data": []}, [], triviaqa()):
        with pytest.raises(ValueError, match="qa.json: .*Data"):
            convert_triviaqa(content, evidence)


def test_documents_are_utf_8(evidence):
    (evidence / "wikipedia/Bat.txt").write_bytes(b"ab\xff")
    with pytest.raises(ValueError, match="Bat.txt is not UTF-8 at byte 2"):
        convert_triviaqa(triviaqa(trivia(pages=[page("Bat")])), evidence)


def test_the_folder_of_documents_is_checked_first(tmp_path, evidence):
    with pytest.raises(FileNotFoundError, match="has no folder wikipedia or web"):
        list(read_triviaqa(["none.json"], Conversion(True), str(tmp_path), 800))


def test_an_output_appears_whole_or_not_at_all(tmp_path):
    output = tmp_path / "out.json"
    output.write_text("before")
    path = write_lines(tmp_path, [*MRQA, "x"])
    conversion = Conversion(True)
    with pytest.raises(ValueError, match="line 4: 'x'"):
        write_squad(str(output), read_mrqa([path], conversion), conversion)
    path = write_lines(tmp_path, MRQA[:1])
    conversion = Conversion(True)
    with pytest.raises(
        ValueError, match="out.json is not written, no question is left: 0 of 0 que"
    ):
        write_squad(str(output), read_mrqa([path], conversion), conversion)
    assert output.read_text() == "before"
    assert {file.name for file in tmp_path.iterdir()} == {"out.json", "owls.jsonl"}


def test_an_output_that_cannot_be_written_is_named(tmp_path):
    with pytest.raises(OSError, match="cannot write .*none/out.json"):
        write_squad(str(tmp_path / "none/out.json"), iter(()), Conversion(True))


def test_one_context_is_in_memory_at_a_time(tmp_path):
    context = "owl " * 100_000
    lines = [
        line
        for index in range(31)
        for line in [
            {"context": context, "qas": [mrqa_question(f"{index}", [("owl", [[0, 2]])], ["owl"])]}
        ]
    ]
    path = write_lines(tmp_path, lines)
    conversion = Conversion(True)
    tracemalloc.start()
    write_squad(str(tmp_path / "out.json"), read_mrqa([path], conversion), conversion)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert conversion.kept == 31
    assert peak < 6e6


@pytest.mark.parametrize(
    "flags, message",
    [
        (dict(format="triviaqa"), "--evidence_dir is for --format=triviaqa, which needs it"),
        (dict(evidence_dir="x"), "--evidence_dir is for --format=triviaqa, which needs it"),
        (dict(output_file="{}/owls.jsonl"), "is also an input: name another file"),
    ],
)
def test_script_says_what_is_wrong_in_one_line(flags, message, tmp_path):
    path = write_lines(tmp_path, MRQA)
    right = dict(format="mrqa", input_file=path, output_file="{}/out.json")
    flags = {
        name: value.format(tmp_path) if type(value) is str else value
        for name, value in {**right, **flags}.items()
    }
    status, stdout, stderr = run("convert_to_squad.py", **flags)
    assert (status, stdout, len(stderr.splitlines())) == (1, "", 1)
    assert message in stderr
    assert [file.name for file in tmp_path.iterdir()] == ["owls.jsonl"]
