"""Prompts to embeddings, for the starter: no 80 MB dependency at run time."""

from .encoder import StarterTextEncoder, new_text_encoder
from .tokenizer import StarterTokenizer

__all__ = ["StarterTextEncoder", "StarterTokenizer", "new_text_encoder"]
