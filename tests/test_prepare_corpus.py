"""prepare_corpus.py as a user runs it: what it writes, drops, counts and says."""

import bz2
import json
import os
import random
import sys
import tracemalloc

import pytest
from test_corpus_formats import BOOK, WET
from test_wikitext import DUMP
from tiny_runs import run, succeed

from pretraining import corpus
from pretraining.corpus import long_enough, write_corpus
from pretraining.corpus_counts import CorpusCounts
from pretraining.corpus_formats import read_wikipedia
from pretraining.near_duplicates import DuplicateFinder
from pretraining.original_documents import ReadCounts, read_documents
from pretraining.sentences import sentence_splitter


def convert(folder, content, name="input", **options):
    """Runs the script, which drops no short documents; returns (text, counts, stdout)."""
    path = folder / name
    path.write_bytes(content if type(content) is bytes else content.encode())
    output = folder / "corpus.txt"
    right = dict(min_document_sentences=1, min_document_characters=0)
    flags = {"input_file": path, "output_file": output, **right, **options}
    stdout, _ = succeed("prepare_corpus.py", **flags)
    return output.read_text(), json.loads((folder / "corpus.txt.json").read_text()), stdout


def write(path, documents, finder=None, **options):
    counts = CorpusCounts()
    limits = {"min_sentences": 1, "min_characters": 0, **options}
    kept = long_enough(documents, sentence_splitter("en"), counts, **limits)
    write_corpus(str(path), kept, counts, finder)
    return path.read_text(), counts


@pytest.mark.parametrize(
    "language, paragraph, sentences",
    [
        ("en", "Dr. Owl met Mr. J. Bat at 5 p.m. on Jan. 3. They flew.", 2),
        ("en", 'It cost $3.50, i.e. much. "Is it?" he asked. No.', 3),
        ("de", "Dr. Eule kam am 3. Oktober z. B. um 5 Uhr. Er ging.", 2),
        ("zh", "这是猫头鹰。那是蝙蝠！真的吗？", 3),
        ("hi", "यह उल्लू है। वह चमगादड़ है।", 2),
    ],
)
def test_abbreviations_do_not_end_a_sentence(language, paragraph, sentences):
    found = sentence_splitter(language)([paragraph])
    assert len(found) == sentences
    assert "".join(found).replace(" ", "") == paragraph.replace(" ", "")


def test_a_sentence_is_one_line_and_does_not_go_beyond_its_paragraph():
    split = sentence_splitter("en")
    assert split(["One\n owl\u2028sat\r\non it.", "\t", "Of the\0bats"]) == [
        "One owl sat on it.",
        "Of the bats",
    ]


@pytest.mark.parametrize(
    "text",
    [
        "“A bat?” said the owl. |“A bat? |Good night!",  # a quotation that goes on in the next paragraph
        '"A bat?" said the owl. |"A bat? |Good night!',
        "It is the dogs'. |He went.",
        "« Oui. » |Il part.",
    ],
)
def test_the_mark_that_opens_a_quotation_stays_with_it(text):
    sentences = [sentence.strip() for sentence in text.split("|")]
    assert sentence_splitter("en")([text.replace("|", "")]) == sentences


@pytest.mark.parametrize("language", ["", "e", "english", "e1", "../x"])
def test_what_is_no_code_of_a_language_is_named(language):
    with pytest.raises(ValueError, match=f"--language={language} is no code"):
        sentence_splitter(language)


def test_a_library_that_is_not_installed_is_named(tmp_path, monkeypatch):
    for name in ("sentencex", "mwparserfromhell"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ValueError, match="pip install sentencex"):
        sentence_splitter("en")
    with pytest.raises(ValueError, match="pip install mwparserfromhell"):
        next(read_wikipedia(str(tmp_path), CorpusCounts(), "error"))


def test_a_dump_becomes_what_create_pretraining_data_reads(tmp_path):
    text, report, stdout = convert(
        tmp_path, bz2.compress(DUMP.encode()), input_format="wikipedia", language="en"
    )
    assert text == (
        "Owls (from Old English ule) are birds of prey.\nThey hunt mice & voles at night.\n"
        "The second paragraph has small letters and H2O.\n"
        "After the table; see the site and Kategorie:Birds.\n\nBats hang < they fly.\n\n"
    )
    counts = ReadCounts()
    path = str(tmp_path / "corpus.txt")
    assert [len(d) for d in read_documents([path], str.split, counts)] == [4, 1]
    assert report["counts"]["dropped"] == {
        "no wikitext": 1,
        "outside namespace 0": 1,
        "redirect": 1,
    }
    assert report["counts"]["removed"]["lines of lists"] == 5
    assert "kept 2 of 5 documents from 1 file(s): 5 sentences" in stdout


@pytest.mark.parametrize(
    "input_format, content, text",
    [
        ("books", BOOK, "OWLS\nThe great owl was well-known in the neighbourhood.\nIts"),
        ("jsonl", '{"body": "An owl. A bat.\\nNo"}\n', "An owl.\nA bat.\nNo\n\n"),
        ("wet", b"".join(WET), "Öwls\nfly.\nWARC/1.0\n\nBats\n\n"),
    ],
)
def test_every_format_is_read(input_format, content, text, tmp_path):
    field = "body" if input_format == "jsonl" else None
    found, _, _ = convert(tmp_path, content, input_format=input_format, text_field=field)
    assert found.startswith(text)


def test_files_come_in_the_order_of_their_globs_and_names(tmp_path):
    for name in ("b2", "b1", "a"):
        (tmp_path / name).write_text(f"Owl {name}.\n")
    text, report, _ = convert(
        tmp_path, "", input_format="text", input_file=f"{tmp_path}/b*,{tmp_path}/a"
    )
    assert text == "Owl b1.\n\nOwl b2.\n\nOwl a.\n\n"
    assert [os.path.basename(name) for name in report["files"]] == ["b1", "b2", "a"]


def test_short_documents_are_dropped_by_reason(tmp_path):
    documents = [["A owl. B owl. C owl."], ["A bat, a long one of them."], ["So? No! Yes."], [" "]]
    text, counts = write(tmp_path / "out", documents, min_sentences=2, min_characters=15)
    assert text == "A owl.\nB owl.\nC owl.\n\n"
    assert counts.dropped == {
        "of too few sentences": 1,
        "of too few characters": 1,
        "empty": 1,
    }


def owls(number, seed):
    draw = random.Random(seed)
    names = ["owl", "bat", "mouse", "tree", "night", "eats", "sees", "hears", "old", "grey"]
    return [" ".join(draw.choices(names, k=9)).capitalize() + "." for _ in range(number)]


def test_duplicates_are_dropped_and_the_counts_are_those_of_the_output(tmp_path):
    first, second = owls(20, 1), owls(20, 2)
    documents = [first, second, first, [*second, "Bat."], owls(20, 3)]
    with DuplicateFinder(0.8) as finder:
        text, counts = write(tmp_path / "out", documents, finder)
    expected = ["\n".join(document) for document in (first, second, documents[4])]
    assert text == "".join(f"{document}\n\n" for document in expected)
    assert counts.dropped == {"equal to an earlier one": 1, "similar to an earlier one": 1}
    assert (counts.read, counts.kept, counts.sentences) == (5, 3, 60)
    assert counts.characters == len("".join(expected).replace("\n", ""))


@pytest.mark.parametrize("drop, kept", [("equal", 3), ("none", 4)])
def test_the_flag_says_which_duplicates_go(drop, kept, tmp_path):
    first, second = " ".join(owls(20, 1)), " ".join(owls(20, 2))
    documents = "\n\n".join([first, second, first, f"{second} Bat."])
    _, report, _ = convert(tmp_path, documents, input_format="text", drop_duplicates=drop)
    assert report["counts"]["kept"] == kept
    assert sum(report["counts"]["dropped"].values()) == 4 - kept


def test_the_same_input_gives_the_same_output(tmp_path):
    documents = [owls(9, seed) for seed in range(40)] * 2
    texts = []
    for name in ("one", "two"):
        with DuplicateFinder(0.8) as finder:
            texts.append(write(tmp_path / name, documents, finder)[0])
    assert texts[0] == texts[1]
    assert texts[0].count("\n\n") == 40


def test_an_output_appears_whole_or_not_at_all(tmp_path):
    output = tmp_path / "out"
    output.write_text("before")

    def broken():
        yield ["One owl."]
        raise ValueError("bad")

    with pytest.raises(ValueError, match="bad"):
        write(output, broken())
    with pytest.raises(ValueError, match="out is not written, no document is left: kept 0 of 1"):
        write(output, [[""]])
    assert output.read_text() == "before"
    assert os.listdir(tmp_path) == ["out"]


def test_a_full_disk_is_told(tmp_path):
    counts = CorpusCounts()
    documents = long_enough([["One owl."]] * 9999, sentence_splitter("en"), counts, 1, 0)
    with open("/dev/full", "wb") as full, pytest.MonkeyPatch.context() as patch:
        patch.setattr(corpus, "_open", lambda *_: full)
        with pytest.raises(OSError, match="cannot write .*out: its disk is full"):
            write_corpus(str(tmp_path / "out"), documents, counts, None)


def test_one_document_is_in_memory_at_a_time(tmp_path):
    paragraphs = ["The owl sees a bat at night. " * 4000]
    documents = ([f"{number}. It is old.", *paragraphs] for number in range(40))
    split = sentence_splitter("en")
    split(paragraphs)
    tracemalloc.start()
    counts = CorpusCounts()
    write_corpus(str(tmp_path / "out"), long_enough(documents, split, counts, 1, 0), counts, None)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    size = os.path.getsize(tmp_path / "out")
    assert size > 4e6
    # In sentences the document of 116 kB is 4000 objects.
    assert peak < 2e6


@pytest.mark.parametrize(
    "flags, message",
    [
        (dict(output_file="{}/input"), "writes {}/input, which is an input"),
        (dict(input_format="jsonl"), "{}/input: line 1: not JSON: "),
        (dict(language="english"), "--language=english is no code"),
    ],
)
def test_script_says_what_is_wrong_in_one_line(flags, message, tmp_path):
    (tmp_path / "input").write_text("An owl.\n")
    right = dict(input_format="text", input_file="{}/input", output_file="{}/out")
    flags = {
        name: value.replace("{}", str(tmp_path)) if type(value) is str else value
        for name, value in {**right, **flags}.items()
    }
    status, stdout, stderr = run("prepare_corpus.py", **flags)
    assert (status, stdout, len(stderr.splitlines())) == (1, "", 1)
    assert stderr.startswith("error: ") and message.replace("{}", str(tmp_path)) in stderr
    assert os.listdir(tmp_path) == ["input"]
