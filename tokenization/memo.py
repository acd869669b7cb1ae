"""The bounded memo on which the speed of the tokenizer rests."""

MAX_ENTRIES = 1 << 18
MAX_KEY_CHARS = 256


class Memo(dict):
    """A function of a string that remembers its values: `memo[key]` is `compute(key)`.

    It forgets everything when it is full, does not keep keys of more than `MAX_KEY_CHARS` characters (they hardly
    ever return and a hostile text could fill the memory with them), and is pickled empty.

    Args:
      compute: function of one string; its value must be immutable, because it is handed out again and again.
      max_entries: number of keys held at most.
    """

    def __init__(self, compute, max_entries: int = MAX_ENTRIES):
        super().__init__()
        self._compute = compute
        self._max_entries = max_entries

    def __missing__(self, key: str):
        value = self._compute(key)
        if len(key) <= MAX_KEY_CHARS:
            if len(self) >= self._max_entries:
                self.clear()
            self[key] = value
        return value

    def __reduce__(self):
        return Memo, (self._compute, self._max_entries)
