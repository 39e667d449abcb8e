"""The starter's text encoder: a frozen table of word meanings under a small trained transformer.

The table is a sentence encoder's knowledge of words, distilled once (`engine/training/text`), so that a word the captions never
used ("settee") still lands beside one they did ("sofa"). Everything above it is trained together with the denoiser.
"""

from __future__ import annotations

import math
from pathlib import Path

import torch
import torch.nn.functional as F
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ...errors import WeightsError
from .tokenizer import SPECIAL_TOKENS, StarterTokenizer

TABLE_FILE = "table.safetensors"


def quantise_rows(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Rows to eight bits, each with its own scale; the error of an element is at most half its row's scale.

    Args:
        rows: float32 [V, D].

    Returns:
        int8 [V, D] in -127..127 and float32 [V] such that values * scale ~ rows. A row of zeros gets scale 0.
    """
    scale = rows.abs().amax(1) / 127
    values = (rows / scale.clamp(min=torch.finfo(torch.float32).tiny)[:, None]).round()
    return values.to(torch.int8), scale


class TokenTable(nn.Module):
    """Frozen rows, int8 with a scale a row. Buffers, not parameters: no optimiser and no EMA sees them."""

    values: Tensor
    scale: Tensor

    def __init__(self, size: int, dim: int) -> None:
        super().__init__()
        self.register_buffer("values", torch.zeros(size, dim, dtype=torch.int8))
        self.register_buffer("scale", torch.zeros(size))

    def forward(self, input_ids: Tensor) -> Tensor:
        """int64 [...] -> [..., D] in the dtype of the scales."""
        scale = self.scale[input_ids, None]
        return self.values[input_ids].to(scale.dtype) * scale


class TextBlock(nn.Module):
    """Pre-norm self-attention and feed-forward."""

    def __init__(self, hidden: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.attention_norm = nn.LayerNorm(hidden)
        self.to_qkv = nn.Linear(hidden, 3 * hidden)
        self.to_out = nn.Linear(hidden, hidden)
        self.mlp_norm = nn.LayerNorm(hidden)
        self.mlp_in = nn.Linear(hidden, 4 * hidden)
        self.mlp_out = nn.Linear(4 * hidden, hidden)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """[B, L, C] and bool [B, 1, 1, L], True where a key may be looked at -> [B, L, C]."""
        batch, length, hidden = x.shape
        qkv = self.to_qkv(self.attention_norm(x)).view(batch, length, 3, self.heads, hidden // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # [B, heads, L, C / heads] each
        attended = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        x = x + self.to_out(attended.transpose(1, 2).reshape(batch, length, hidden))
        return x + self.mlp_out(F.gelu(self.mlp_in(self.mlp_norm(x))))


class StarterTextEncoder(ModelMixin, ConfigMixin):
    """Token numbers to what the denoiser's cross-attention reads.

    Args:
        vocab_size, table_dim: Size of the frozen table.
        hidden: Channels of the output (the denoiser's cross_attention_dim).
        layers, heads: Numbers of layers and attention heads of the transformer.
        max_length: Longest prompt, tokens.
    """

    @register_to_config
    def __init__(
        self,
        vocab_size: int = 31122,
        table_dim: int = 112,
        hidden: int = 192,
        layers: int = 3,
        heads: int = 6,
        max_length: int = 24,
    ) -> None:
        super().__init__()
        self.table = TokenTable(vocab_size, table_dim)
        self.project = nn.Linear(table_dim, hidden, bias=False)
        self.special = nn.Embedding(len(SPECIAL_TOKENS), hidden)  # these have no meaning to distil: their table rows are 0
        self.position = nn.Embedding(max_length, hidden)
        self.blocks = nn.ModuleList(TextBlock(hidden, heads) for _ in range(layers))
        self.norm = nn.LayerNorm(hidden)
        nn.init.orthogonal_(self.project.weight)  # at the start, what is near in the table is as near here
        nn.init.normal_(self.special.weight, std=math.sqrt(table_dim / hidden))
        nn.init.normal_(self.position.weight, std=0.1)
        for block in self.blocks:
            assert isinstance(block, TextBlock)
            nn.init.normal_(block.to_out.weight, std=0.02 / math.sqrt(2 * layers))
            nn.init.normal_(block.mlp_out.weight, std=0.02 / math.sqrt(2 * layers))

    def attention_mask(self, input_ids: Tensor) -> Tensor:
        """bool, of the shape of `input_ids`: True where there is a token."""
        return input_ids != 0

    def forward(self, input_ids: Tensor, row_noise: float = 0.0, generator: torch.Generator | None = None) -> Tensor:
        """Prompt embeddings.

        Args:
            input_ids: int64 [B, L] from `StarterTokenizer`, L at most max_length; 0 is padding.
            row_noise: For training: standard deviation of noise added to each table row, relative to the row's own size. Captions
                name few words; noise makes each stand for its neighbourhood. Synonyms are about 0.6 apart in this measure.
            generator: Source of the noise, on the device of the model.

        Returns:
            [B, L, hidden]; 0 where there is padding.

        Raises:
            ValueError: `input_ids` has another shape or is too long.
        """
        if input_ids.ndim != 2 or input_ids.shape[1] > self.position.num_embeddings:
            raise ValueError(f"input_ids: expected int64 [B, <= {self.position.num_embeddings}], got {tuple(input_ids.shape)}")
        mask = self.attention_mask(input_ids)
        rows = self.table(input_ids)  # [B, L, D]
        if row_noise:
            noise = torch.randn(rows.shape, generator=generator, device=rows.device, dtype=rows.dtype)
            rows = rows + row_noise * rows.square().mean(-1, keepdim=True).sqrt() * noise
        is_special = (input_ids < len(SPECIAL_TOKENS))[..., None]
        special = self.special(input_ids.clamp(max=len(SPECIAL_TOKENS) - 1))
        x = self.project(rows) + torch.where(is_special, special, torch.zeros_like(special))
        x = x + self.position.weight[: input_ids.shape[1]]
        for block in self.blocks:
            x = block(x, mask[:, None, None])
        return self.norm(x) * mask[..., None]


def save_table(folder: str | Path, tokenizer: StarterTokenizer, rows: Tensor) -> None:
    """Write a distilled table and its vocabulary into `folder` (made if need be).

    Args:
        folder: Gets `table.safetensors` and `vocab.txt`.
        tokenizer: Its entries are the table's rows, in order.
        rows: float32 [V, D].

    Raises:
        ValueError: There is not one row for each entry.
    """
    if len(rows) != len(tokenizer):
        raise ValueError(f"rows: expected {len(tokenizer)}, one for each entry, got {len(rows)}")
    tokenizer.save_pretrained(folder)
    values, scale = quantise_rows(rows)
    save_file({"values": values, "scale": scale}, Path(folder) / TABLE_FILE)


def new_text_encoder(
    table_folder: str | Path, hidden: int = 192, layers: int = 3, heads: int = 6
) -> tuple[StarterTextEncoder, StarterTokenizer]:
    """A text encoder over a distilled table, its transformer untrained, and its tokenizer.

    Args:
        table_folder: Folder written by `save_table`.
        hidden, layers, heads: See `StarterTextEncoder`.

    Raises:
        WeightsError: A file is missing or damaged, or the table and the vocabulary differ in length.
    """
    tokenizer = StarterTokenizer.from_pretrained(table_folder)
    path = Path(table_folder) / TABLE_FILE
    try:
        tensors = load_file(path)
    except (FileNotFoundError, SafetensorError) as error:
        raise WeightsError(f"The token table {path} is missing or damaged ({error}).") from error
    values, scale = tensors["values"], tensors["scale"]
    if len(values) != len(tokenizer) or len(scale) != len(tokenizer):
        raise WeightsError(f"{path} has {len(values)} rows for {len(tokenizer)} entries of the vocabulary.")
    encoder = StarterTextEncoder(
        vocab_size=len(values),
        table_dim=values.shape[1],
        hidden=hidden,
        layers=layers,
        heads=heads,
        max_length=tokenizer.model_max_length,
    )
    encoder.table.load_state_dict({"values": values, "scale": scale})
    return encoder, tokenizer
