"""Names and globs -> files."""

import pytest

from tokenization.files import match_files


def test_files_come_in_the_order_of_the_patterns_and_by_name_within_one(tmp_path):
    for name in ("b1", "b0", "a3", "a2"):
        (tmp_path / name).touch()
    found = match_files(f"{tmp_path}/b*,{tmp_path}/a*")
    assert [path[-2:] for path in found] == ["b0", "b1", "a2", "a3"]


def test_a_pattern_that_matches_nothing_is_named_with_its_flag(tmp_path):
    (tmp_path / "a").touch()
    with pytest.raises(FileNotFoundError, match="--eval_file: .*/none"):
        match_files(f"{tmp_path}/a,{tmp_path}/none*", "eval_file")


def test_a_folder_is_not_taken_for_a_file(tmp_path):
    with pytest.raises(IsADirectoryError, match="is a folder"):
        match_files(str(tmp_path))
