"""The vocabulary learner: merges by hand, order, limits, and its script."""

import json
import random
import subprocess

import pytest
from tiny_runs import command, refusal, succeed

from tokenization import SPECIAL_TOKENS, FullTokenizer, load_vocab
from tokenization.learner import learn_vocab, special_rows
from tokenization.word_counts import count_words

# The textbook example of byte-pair encoding (Sennrich et al. 2016 in its HuggingFace course version).
HUGS = ["hug"] * 10 + ["pug"] * 5 + ["pun"] * 12 + ["bun"] * 4 + ["hugs"] * 5
HUG_CHARACTERS = ["b", "g", "h", "n", "p", "s", "u"]


def learned(lines, size=1000, **options) -> list[str]:
    """Returns the tokens after the special ones."""
    vocab = learn_vocab(count_words(lines).words, size, **options)
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


def test_punctuation_and_cjk_get_no_continuing_form():
    assert learned(["ab, \u4e00b"], min_frequency=7) == [",", "a", "b", "\u4e00", "##a", "##b"]


def test_rare_characters_are_left_out_with_their_words(caplog):
    caplog.set_level("INFO")
    assert learned(["aab aab aaz"], alphabet_size=2) == ["a", "b", "##a", "##b", "##ab", "aab"]
    assert "1 of 2 different words (33.3333 % of the running text)" in caplog.text


def test_every_word_of_the_text_can_be_cut():
    draw = random.Random(7)
    words = ["".join(draw.choices("abcxyz\u4e2d.!", k=draw.randrange(1, 12))) for _ in range(300)]
    for size in (31, 60, 200):
        vocab = learn_vocab(count_words(words).words, size)
        tokenizer = FullTokenizer.from_vocab({token: index for index, token in enumerate(vocab)})
        assert all("[UNK]" not in tokenizer.tokenize(word) for word in words)


def test_the_size_is_exact_and_no_piece_comes_twice():
    draw = random.Random(11)
    words = ["".join(draw.choices("aaab", k=draw.randrange(1, 15))) for _ in range(500)]
    vocab = learn_vocab(count_words(words).words, 150, min_frequency=1, unused_rows=3)
    assert len(vocab) == len(set(vocab)) == 150


def test_special_tokens_and_unused_rows_stand_where_the_uncased_release_has_them(shared):
    released = (shared / "data/vocab/uncased_vocab.txt").read_text().split("\n")
    assert special_rows(994) == released[:999]
    assert special_rows(99) == released[:104]
    assert special_rows(0) == list(SPECIAL_TOKENS)
    vocab = learn_vocab({"hug": 5}, 200, unused_rows=120)
    assert [vocab.index(token) for token in SPECIAL_TOKENS] == [0, 100, 101, 102, 103]
    assert vocab[104:125] == [f"[unused{number}]" for number in range(99, 120)]
    assert vocab[125:] == ["g", "h", "u", "##g", "##h", "##u", "##ug", "hug"]


def test_a_size_below_the_alphabet_is_refused():
    words = count_words(HUGS).words
    with pytest.raises(ValueError, match="--vocab_size=18 is too small .* raise it to 19 or more"):
        learn_vocab(words, 18)
    with pytest.raises(ValueError, match="7 unused rows and 14 single characters: raise it to 26"):
        learn_vocab(words, 25, unused_rows=7)


def test_script_writes_the_same_vocabulary_under_any_hash_seed(tmp_path, monkeypatch):
    (tmp_path / "one.txt").write_text("\n".join(HUGS[:17]))
    (tmp_path / "two.txt").write_text("\n".join(HUGS[17:]))
    written = []
    for seed in ("0", "17"):
        output = tmp_path / seed / "vocab.txt"
        monkeypatch.setenv("PYTHONHASHSEED", seed)
        files = dict(input_file=tmp_path / "*.txt", vocab_file=output)
        words = command("learn_vocab.py", **files, vocab_size=122)
        assert b"122 tokens learned from 2 file(s)" in subprocess.check_output(words)
        assert [path.name for path in output.parent.iterdir()] == ["vocab.txt"]
        written.append(output.read_bytes())
    assert written[0] == written[1]
    assert list(load_vocab(str(output))) == learn_vocab(
        count_words(HUGS).words, 122, unused_rows=99
    )


def test_script_compares_with_another_vocabulary_on_held_out_text(tmp_path):
    (tmp_path / "text.txt").write_text("\n".join(HUGS))
    (tmp_path / "heldout.txt").write_text("hug pun bun\nhugs\n")
    (tmp_path / "other.txt").write_text("[UNK]\nhug\n##s\nb\n##un\n")
    stdout, _ = succeed(
        "learn_vocab.py",
        input_file=tmp_path / "text.txt",
        vocab_file=tmp_path / "vocab.txt",
        compare_vocab_file=tmp_path / "other.txt",
        heldout_file=tmp_path / "heldout.txt",
        report_file=tmp_path / "report.json",
        vocab_size=200,
    )
    assert "commonest words that" in stdout and "b ##un" in stdout
    ours, other = json.loads((tmp_path / "report.json").read_text()).values()
    assert (ours["pieces_per_word"], ours["whole_words"]) == (1.0, 1.0)
    assert (other["pieces"], other["unknown_words"]) == (6, 0.25)  # hug, [UNK], b ##un, hug ##s


@pytest.mark.parametrize(
    ("content", "flags", "message"),
    [
        (b" \n\n", {}, "there is no word in the text of --input_file="),
        (b"ab\n", dict(vocab_size="107"), "raise it to 108 or more"),
        (b"ab\n", dict(report_file="{}/text.txt"), "--report_file={}/text.txt is also an input"),
    ],
)
def test_bad_input_is_refused_in_one_line(tmp_path, content, flags, message):
    (tmp_path / "text.txt").write_bytes(content)
    flags = {name: value.format(tmp_path) for name, value in flags.items()}
    files = dict(input_file=tmp_path / "text.txt", vocab_file=tmp_path / "vocab.txt")
    assert message.format(tmp_path) in refusal("learn_vocab.py", **files, **flags)
    assert [path.name for path in tmp_path.iterdir()] == ["text.txt"]
