"""Does --do_lower_case fit the checkpoint? (`tokenization.py` of the original)"""

import re

_RELEASE = re.compile(r"([A-Za-z0-9_-]+)[/\\]bert_model.ckpt")
_NAME = re.compile(r"(?:wwm_)?(uncased|chinese|multilingual|cased|multi_cased)_L-\d+_H-\d+_A-\d+")


def validate_case_matches_checkpoint(do_lower_case: bool, init_checkpoint: str | None) -> None:
    """Refuses a flag that contradicts the name of a released checkpoint's folder.

    Knows the names of all releases (also the whole word masking and the 24 small ones, which the original missed),
    with slashes of either kind. Any other name passes.

    Args:
      do_lower_case: the flag.
      init_checkpoint: path such as uncased_L-12_H-768_A-12/bert_model.ckpt, or None.

    Raises:
      ValueError: the folder is of the other kind.
    """
    release = _RELEASE.search(init_checkpoint or "")
    name = release and _NAME.fullmatch(release.group(1))
    if not name:
        return
    wanted = name.group(1) not in ("cased", "multi_cased")
    if do_lower_case != wanted:
        raise ValueError(
            f"--do_lower_case={str(do_lower_case).lower()} with --init_checkpoint={init_checkpoint}: "
            f"{name.group()} is {'an uncased' if wanted else 'a cased'} model, "
            f"use --do_lower_case={str(wanted).lower()}"
        )
