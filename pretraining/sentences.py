"""Paragraphs -> sentences, by the rules and abbreviations of Wikimedia's sentencex.

Of the libraries that need no model and no download, measured on one core on Gutenberg's novels: sentencex 88 MB/s (in
Rust; some 300 languages by rules of their own or of a related one), syntok 1.2 MB/s (three languages), pysbd 0.25 MB/s
(no release since 2021). The same text gives the same sentences. What it does not know ends a sentence: "M." in French.
"""

from collections.abc import Callable, Iterable, Iterator

_OPENING = "\"'“‘„"  # after a blank; not « and », which open in one language and close in another


def sentence_splitter(language: str) -> Callable[[Iterable[str]], list[str]]:
    """Returns a function that splits paragraphs: texts -> sentences, of which each is one line.

    Args:
      language: code of ISO 639, as "en" or "de". One without rules of its own is split by those of a related
        language, or else by punctuation.

    Raises:
      ValueError: `language` is no such code, or the library is not installed.
    """
    if not (language.isascii() and language.isalpha() and 2 <= len(language) <= 3):
        raise ValueError(
            f"--language={language} is no code of a language: give one of two or three letters, as en"
        )
    try:
        from sentencex import segment
    except ImportError:
        raise ValueError("splitting sentences needs sentencex: pip install sentencex") from None

    def split(paragraphs: Iterable[str]) -> list[str]:
        # Web pages have zero bytes, by which later readers would take the corpus for binary.
        lines = (" ".join(paragraph.replace("\0", " ").split()) for paragraph in paragraphs)
        return [found for line in lines if line for found in _opened(segment(language, line))]

    return split


def _opened(sentences: Iterable[str]) -> Iterator[str]:
    """Yields the sentences, each with the mark that opens its quotation.

    sentencex leaves 3 % of the novels' sentences without it, at the end of the sentence before.
    """
    before = ""
    for sentence in filter(None, map(str.strip, sentences)):
        rest = before.rstrip(_OPENING)
        if rest.endswith(" "):
            yield rest.rstrip()
            before = f"{before[len(rest) :]}{sentence}"
        else:
            if before:
                yield before
            before = sentence
    if before:
        yield before
