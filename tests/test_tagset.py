"""Schemes of tags: how they are found, and which tags cannot stand where they are."""

import json
import logging

import pytest

from finetuning.tagging_files import Sentence, TagFile
from finetuning.tagset import (
    Tagset,
    check_tags,
    find_tagset,
    invalid_places,
    tag_numbers,
    tagset_of_run,
    write_tagset,
)


def file_of(*sentences):
    """Returns a file with a word for each tag of texts like "B-x I-x O"."""
    found, line = [], 0
    for text in sentences:
        tags = text.split()
        found.append(Sentence([f"w{n}" for n in range(len(tags))], tags, [], 0))
        found[-1].lines.extend(range(line, line + len(tags)))
        line += len(tags) + 1
    return TagFile("train.txt", [], None, found, 0)


@pytest.mark.parametrize(
    ("sentences", "scheme"),
    [
        (["B-x I-x O", "B-y O"], "iob2"),
        (["I-x I-x O", "I-y B-y O"], "iob1"),
        (["I-x O"], "iob1"),
        (["B-x O"], "iob2"),
        (["B-x I-x E-x O S-y"], "iobes"),
        (["B-x I-x L-x O U-y"], "bilou"),
        (["DET NOUN", "VERB O"], "plain"),
        (["B-x I-x O", "I-x O", "B-x I-x"], "iob2"),  # one mistake
        (["B I O", "B O"], "iob2"),  # entities of a single type
        (["B I E O", "S O"], "iobes"),
        (["B I L O", "U O"], "bilou"),
        (["B V O", "I V"], "plain"),  # letters that are classes of words
        (["I U", "O U"], "plain"),
    ],
)
def test_the_scheme_is_that_with_the_fewest_invalid_tags(sentences, scheme):
    assert find_tagset(file_of(*sentences)).scheme == scheme


def test_the_scheme_is_said(caplog):
    caplog.set_level(logging.INFO, logger="absl")
    find_tagset(file_of("B-x I-x O"))
    assert "train.txt: 3 tags, scheme iob2 (found): B-x I-x O" in caplog.text
    find_tagset(file_of("B-x O"), "iob1")
    assert "train.txt: 2 tags, scheme iob1: B-x O" in caplog.text


def test_tags_are_sorted_whatever_their_order_in_the_file():
    assert find_tagset(file_of("O B-y B-x", "I-x")).tags == ("B-x", "B-y", "I-x", "O")


@pytest.mark.parametrize(
    ("scheme", "tags", "places"),
    [
        ("iob2", "B-x I-x B-x O", []),
        ("iob2", "I-x O I-x B-x I-y", [0, 2, 4]),
        ("iob1", "I-x I-x B-x I-y", []),
        ("iob1", "B-x O B-x I-x B-y", [0, 2, 4]),
        ("iobes", "B-x I-x E-x S-x B-y E-y", []),
        ("iobes", "B-x O E-x", [1, 2]),
        ("iobes", "S-x B-x", [2]),  # the sentence ends in the entity
        ("iobes", "B-x E-y", [1]),
        ("bilou", "B-x I-x L-x U-x", []),
        ("bilou", "B-x U-x L-x", [1, 2]),
        ("plain", "I-x E-x", []),
        ("iob2", "B I O I I-x", [3, 4]),
        ("bilou", "B L U O L", [4]),
    ],
)
def test_tags_that_cannot_follow_each_other_are_found(scheme, tags, places):
    assert invalid_places(tags.split(), scheme) == places


def test_invalid_tags_of_a_file_are_counted_and_used(caplog):
    caplog.set_level(logging.WARNING, logger="absl")
    assert "I-x" in find_tagset(file_of("O B-x", "O I-x O I-x"), "iob2").tags
    assert "2 tags cannot stand where they are in iob2, the first is line 5" in caplog.text


def test_tags_of_a_development_set_that_training_lacks_are_counted_and_named(caplog):
    caplog.set_level(logging.WARNING, logger="absl")
    tagset = Tagset(("B-x", "O"), "iob2")
    file = file_of("B-y O B-x")
    check_tags(file, tagset)
    assert "1 tags that training does not have" in caplog.text and "B-y" in caplog.text
    assert tag_numbers(file, tagset).tolist() == [-1, 1, 0]


@pytest.mark.parametrize(
    ("sentences", "scheme", "expected"),
    [
        (["O B-x", "O PER"], None, "line 5: tag 'PER' is none of an entity"),
        (["O B-x", "S-x"], "iob2", "line 4: tag 'S-x' is none of iob2, which has B-x, I-x and O"),
        (["O O", "O"], None, "all words have the tag 'O'"),
        (["O B-x", "B O"], None, "line 4: tag 'B' is none of an entity, as 'B-x' is"),
    ],
)
def test_a_tag_that_does_not_fit_is_named_with_its_line(sentences, scheme, expected):
    with pytest.raises(ValueError, match="train.txt") as error:
        find_tagset(file_of(*sentences), scheme)
    assert expected in str(error.value)


def test_what_looks_like_entities_can_be_called_plain():
    assert find_tagset(file_of("O B-x", "O PER"), "plain").scheme == "plain"


def test_without_training_the_tags_are_those_beside_the_checkpoints(tmp_path):
    tagset = Tagset(("B-ä", "O"), "iob2")
    write_tagset(str(tmp_path), tagset)
    checkpoint = str(tmp_path / "model.ckpt-3")
    assert tagset_of_run(None, None, str(tmp_path), None) == tagset
    assert tagset_of_run(None, None, "nowhere", checkpoint) == tagset
    assert tagset_of_run(None, None, "nowhere", str(tmp_path)) == tagset
    assert tagset_of_run(None, "iob1", str(tmp_path), None).scheme == "iob1"
    with pytest.raises(ValueError, match="tags.json"):
        tagset_of_run(None, None, "nowhere", None)


def test_a_run_keeps_its_tags(tmp_path):
    write_tagset(str(tmp_path), Tagset(("B-x", "O"), "iob2"))
    assert tagset_of_run(file_of("O B-x"), None, str(tmp_path), None).tags == ("B-x", "O")
    with pytest.raises(ValueError, match="other tags than train.txt"):
        tagset_of_run(file_of("O B-y"), None, str(tmp_path), None)


@pytest.mark.parametrize("text", ["[", "{}", '{"tags": [3], "scheme": "iob2"}', "7"])
def test_a_damaged_file_of_tags_is_named(tmp_path, text):
    (tmp_path / "tags.json").write_text(text)
    with pytest.raises(ValueError, match="tags.json is damaged"):
        tagset_of_run(None, None, str(tmp_path), None)


def test_the_file_of_tags_is_json_for_others(tmp_path):
    write_tagset(str(tmp_path), Tagset(("B-x", "O"), "iob2"))
    content = json.loads((tmp_path / "tags.json").read_text())
    assert content == {"tags": ["B-x", "O"], "scheme": "iob2"}
