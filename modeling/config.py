"""BertConfig: the architecture, in the fields of the released `bert_config.json`.

Devlin et al. 2019, section 3 ("Model Architecture"); field names and defaults follow `modeling.py` of the original.
"""

import dataclasses
import json

import tensorflow as tf

# "gelu" is the tanh form, as the original computes it; "gelu_erf" is the exact form, which weights from PyTorch expect.
ACTIVATIONS = ("gelu", "gelu_erf", "relu", "tanh", "linear")


@dataclasses.dataclass(frozen=True)
class BertConfig:
    """Architecture of a BERT.

    Attributes:
      vocab_size: number of WordPieces, V.
      hidden_size: width of the encoder, H; a multiple of `num_attention_heads`.
      num_hidden_layers: number of Transformer blocks, L.
      num_attention_heads: attention heads of each block, A.
      intermediate_size: width of the feed-forward layer, I.
      hidden_act: "gelu" (tanh form), "gelu_erf", "relu", "tanh" or "linear".
      hidden_dropout_prob: probability of dropping a hidden unit, in [0, 1).
      attention_probs_dropout_prob: probability of dropping an attention weight, in [0, 1).
      max_position_embeddings: longest sequence the model can take, in WordPieces.
      type_vocab_size: number of segment types (every released configuration says 2).
      initializer_range: standard deviation of the truncated normal that initialises kernels and embeddings.

    Raises:
      ValueError: if a value is outside its range or `hidden_size` is not a multiple of `num_attention_heads`.
    """

    vocab_size: int
    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    intermediate_size: int = 3072
    hidden_act: str = "gelu"
    hidden_dropout_prob: float = 0.1
    attention_probs_dropout_prob: float = 0.1
    max_position_embeddings: int = 512
    type_vocab_size: int = 16
    initializer_range: float = 0.02

    def __post_init__(self):
        # The original takes any case, and "" or null for the identity.
        object.__setattr__(self, "hidden_act", (self.hidden_act or "linear").lower())
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            whole = isinstance(value, int) and not isinstance(value, bool)
            if field.type is int and not (whole and value > 0):
                raise ValueError(f"{field.name} must be a positive integer, not {value!r}")
        for name in ("hidden_dropout_prob", "attention_probs_dropout_prob"):
            if not 0.0 <= getattr(self, name) < 1.0:
                raise ValueError(f"{name} must be in [0, 1), not {getattr(self, name)!r}")
        if self.hidden_act not in ACTIVATIONS:
            raise ValueError(
                f"hidden_act must be one of {', '.join(ACTIVATIONS)}, not {self.hidden_act!r}"
            )
        if self.hidden_size % self.num_attention_heads:
            raise ValueError(
                f"hidden_size {self.hidden_size} is not a multiple of "
                f"num_attention_heads {self.num_attention_heads}"
            )

    @property
    def head_size(self) -> int:
        """Width of one attention head, D = H / A."""
        return self.hidden_size // self.num_attention_heads

    def check_seq_length(self, max_seq_length: int, flag: str = "max_seq_length") -> None:
        """Raises ValueError, naming the flag, unless the model has positions for so many WordPieces."""
        if not 3 <= max_seq_length <= self.max_position_embeddings:
            raise ValueError(
                f"--{flag}={max_seq_length} must be between 3 and {self.max_position_embeddings}, "
                "the max_position_embeddings of the model"
            )

    def check_vocab_size(self, num_tokens: int, vocab_file: str) -> None:
        """Raises ValueError if the vocabulary has ids that the model has no embedding for."""
        if num_tokens > self.vocab_size:
            raise ValueError(
                f"--vocab_file={vocab_file} has {num_tokens} tokens, but the vocab_size of --bert_config_file is "
                f"{self.vocab_size}: they belong to different models"
            )

    @classmethod
    def from_json_file(cls, path: str) -> "BertConfig":
        """Reads a `bert_config.json`; fields this model does not have (`directionality`, `pooler_*`) are ignored.

        Raises:
          FileNotFoundError: if there is no such file.
          ValueError: naming the file, if it is not JSON or a value is out of range.
        """
        if not tf.io.gfile.exists(path) or tf.io.gfile.isdir(path):
            raise FileNotFoundError(f"{path}: no such file (a bert_config.json is needed)")
        try:
            with tf.io.gfile.GFile(path, "rb") as file:
                values = json.loads(file.read().decode("utf-8-sig"))
            if not isinstance(values, dict):
                raise ValueError("not a JSON object")
            known = {field.name for field in dataclasses.fields(cls)}
            return cls(**{name: value for name, value in values.items() if name in known})
        except (ValueError, TypeError, AttributeError) as error:
            raise ValueError(f"{path}: {error}") from error

    def to_json_string(self) -> str:
        """Returns the JSON text as the original writes it: sorted, two spaces, final newline."""
        return json.dumps(dataclasses.asdict(self), indent=2, sort_keys=True) + "\n"
