"""The vocabulary learner: merges by hand, order, limits, and its script."""

import random
import subprocess
import sys

import pytest
from conftest import ROOT

from tokenization import SPECIAL_TOKENS, FullTokenizer, load_vocab
from tokenization.learner import count_words, learn_vocab

# The textbook example of byte-pair encoding (Sennrich et al. 2016 in its HuggingFace course version).
HUGS = ["hug"] * 10 + ["pug"] * 5 + ["pun"] * 12 + ["bun"] * 4 + ["hugs"] * 5
HUG_CHARACTERS = ["b", "g", "h", "n", "p", "s", "u"]


def learned(lines, size=1000, **options) -> list[str]:
    """Returns the tokens after the special ones."""
    vocab = learn_vocab(lines, size, **options)
    assert vocab[:5] == ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    return vocab[5:]


def test_merges_follow_the_counts():
    tokens = learned(HUGS)
    assert tokens[:14] == HUG_CHARACTERS + [f"##{char}" for char in HUG_CHARACTERS]
    # ##u##g 20; ##u##n 16; h##ug 15; p##un 12; then p##ug and hug##s 5 each, b##un 4.
    assert tokens[14:] == ["##ug", "##un", "hug", "pun", "hugs", "pug", "bun"]


def test_counts_follow_the_merges_like_counting_anew():
    draw = random.Random(3)
    words = ["".join(draw.choices("aab", k=draw.randrange(1, 9))) for _ in range(197)]
    pieces = [[w[0], *(f"##{c}" for c in w[1:])] for w in words]
    expected = ["a", "b", "##a", "##b"]
    while len(expected) < 41:
        counts = {}
        for word in pieces:
            for pair in zip(word, word[1:], strict=False):
                counts[pair] = counts.get(pair, 0) + 1
        left, right = min(counts, key=lambda pair: (-counts[pair], pair))
        new = left + right[2:]
        for word in pieces:
            place = 0
            while place < len(word) - 1:
                if (word[place], word[place + 1]) == (left, right):
                    word[place : place + 2] = [new]
                place += 1
        expected.append(new)
    assert learned(words, size=46) == expected


def test_order_of_the_lines_does_not_matter():
    shuffled = HUGS[:]
    random.Random(5).shuffle(shuffled)
    assert learned([" ".join(shuffled)]) == learned(HUGS)


def test_min_frequency_stops_the_merging():
    assert learned(HUGS, min_frequency=6)[14:] == ["##ug", "##un", "hug", "pun"]
    assert learned(HUGS, min_frequency=13)[14:] == ["##ug", "##un", "hug"]


def test_vocab_size_stops_the_merging():
    assert learned(HUGS, size=21)[14:] == ["##ug", "##un"]


def test_words_are_those_of_the_basic_tokenizer():
    assert count_words(["\u00c9t\u00e9, \u00e9t\u00e9", "a\x0bb"]) == {"ete": 2, ",": 1, "ab": 1}
    assert count_words(["\u00c9t\u00e9"], do_lower_case=False) == {"\u00c9t\u00e9": 1}


def test_punctuation_and_cjk_get_no_continuing_form():
    assert learned(["ab, \u4e00b"], min_frequency=7) == [",", "a", "b", "\u4e00", "##a", "##b"]


def test_rare_characters_are_left_out_with_their_words(caplog):
    caplog.set_level("INFO")
    assert learned(["aab aab aaz"], alphabet_size=2) == ["a", "b", "##a", "##b", "##ab", "aab"]
    assert "1 of 2 different words (33.3333 % of the running text)" in caplog.text


def test_every_word_of_the_text_can_be_cut():
    lines = [" ".join(HUGS), "Gnus shun bugs"]
    vocab = learn_vocab(lines, 31)
    tokenizer = FullTokenizer.from_vocab({token: index for index, token in enumerate(vocab)})
    assert all("[UNK]" not in tokenizer.tokenize(line) for line in lines)


def test_impossible_wishes_are_refused():
    with pytest.raises(ValueError, match="--vocab_size=18 is too small .* raise it to 19 or more"):
        learn_vocab(HUGS, 18)
    with pytest.raises(ValueError, match="no word in the text"):
        learn_vocab(["", " \n"], 31)


def run_script(*arguments):
    return subprocess.run(
        [sys.executable, "learn_vocab.py", *arguments], cwd=ROOT, capture_output=True, text=True
    )


def test_script_writes_a_vocabulary_that_loads(tmp_path):
    (tmp_path / "one.txt").write_text("\n".join(HUGS[:17]))
    (tmp_path / "two.txt").write_text("\n".join(HUGS[17:]))
    output = tmp_path / "new" / "vocab.txt"
    done = run_script(f"--input_file={tmp_path}/*.txt", f"--vocab_file={output}", "--vocab_size=23")
    assert done.returncode == 0, done.stderr
    assert list(load_vocab(str(output))) == learn_vocab(HUGS, 23)
    assert list(SPECIAL_TOKENS) == output.read_text().split("\n")[:5]
    assert "23 tokens learned from 2 file(s)" in done.stdout
    assert "characters per token" in done.stdout
    assert [path.name for path in output.parent.iterdir()] == ["vocab.txt"]


def test_script_refuses_bad_input_in_one_line(tmp_path):
    (tmp_path / "bad.txt").write_bytes(b"good line\nbad \xff line\n")
    output = tmp_path / "vocab.txt"
    for pattern, message in (
        ("bad.txt", "bad.txt is not UTF-8: byte 0xff at byte offset 14"),
        ("no*", "no file matches"),
    ):
        done = run_script(f"--input_file={tmp_path}/{pattern}", f"--vocab_file={output}")
        assert done.returncode == 1 and "Traceback" not in done.stderr
        assert message in done.stderr.strip().split("\n")[-1]
        assert not output.exists()
