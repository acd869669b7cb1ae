"""The network and its checkpoints; knows nothing of text or of training."""

from modeling.config import BertConfig
from modeling.encoder import BertModel
from modeling.heads import BertClassifier, BertPretrainer

__all__ = ["BertClassifier", "BertConfig", "BertModel", "BertPretrainer"]
