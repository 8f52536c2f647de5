"""CodeFormer.

Zhou, Chan, Li, Loy: Towards Robust Blind Face Restoration with Codebook Lookup Transformer, NeurIPS 2022. A VQGAN
encoder (Esser, Rombach, Ommer, CVPR 2021), a transformer that reads the best codebook entry for each of its 16 x 16
places, and the VQGAN's generator, into which the encoder's features are mixed as far as the fidelity weight says.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def _norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(32, channels, eps=1e-6)


class _Downsample(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.conv(F.pad(x, (0, 1, 0, 1)))
        return result


class _Upsample(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))
        return result


class _ResidualBlock(nn.Module):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.norm1, self.conv1 = _norm(inputs), nn.Conv2d(inputs, outputs, 3, padding=1)
        self.norm2, self.conv2 = _norm(outputs), nn.Conv2d(outputs, outputs, 3, padding=1)
        self.conv_out = None if inputs == outputs else nn.Conv2d(inputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        main = self.conv2(F.silu(self.norm2(self.conv1(F.silu(self.norm1(x))))))
        return main + (x if self.conv_out is None else self.conv_out(x))


class _AttentionBlock(nn.Module):
    """Attention over all places of a feature map, one head."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = _norm(channels)
        self.q, self.k, self.v = (nn.Conv2d(channels, channels, 1) for _ in range(3))
        self.proj_out = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        normed = self.norm(x)
        q, k, v = (layer(normed).flatten(2).transpose(1, 2)[:, None] for layer in (self.q, self.k, self.v))
        mixed = F.scaled_dot_product_attention(q, k, v)[:, 0]  # (B, places, channels)
        return x + self.proj_out(mixed.transpose(1, 2).unflatten(2, x.shape[2:]))


class _Blocks(nn.Module):
    """Encoder or generator: layers one after another, known by their numbers."""

    def __init__(self, blocks: list[nn.Module]) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)


class _Codebook(nn.Module):
    def __init__(self, entries: int, width: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(entries, width)


class _SelfAttention(nn.Module):
    """nn.MultiheadAttention's parameters; queries and keys from one sequence, values from another."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.in_proj_weight = nn.Parameter(torch.randn(3 * width, width) * width**-0.5)
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
        self.out_proj = nn.Linear(width, width)
        self._heads = heads

    def forward(self, query: Tensor, value: Tensor) -> Tensor:
        """Both (B, places, width)."""
        width = query.shape[-1]
        qk = F.linear(query, self.in_proj_weight[: 2 * width], self.in_proj_bias[: 2 * width])
        v = F.linear(value, self.in_proj_weight[2 * width :], self.in_proj_bias[2 * width :])
        q, k, v = (part.unflatten(2, (self._heads, -1)).transpose(1, 2) for part in (*qk.chunk(2, dim=2), v))
        mixed: Tensor = self.out_proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        return mixed


class _TransformerLayer(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.self_attn = _SelfAttention(width, heads)
        self.linear1, self.linear2 = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)

    def forward(self, x: Tensor, position: Tensor) -> Tensor:
        normed = self.norm1(x)
        x = x + self.self_attn(normed + position, normed)
        mixed: Tensor = self.linear2(F.gelu(self.linear1(self.norm2(x))))
        return x + mixed


class _FuseBlock(nn.Module):
    """Mixes the encoder's features into the generator's (controllable feature transform)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.encode_enc = _ResidualBlock(2 * channels, channels)
        self.scale, self.shift = (
            nn.Sequential(
                nn.Conv2d(channels, channels, 3, padding=1),
                nn.LeakyReLU(0.2),
                nn.Conv2d(channels, channels, 3, padding=1),
            )
            for _ in range(2)
        )

    def forward(self, encoded: Tensor, generated: Tensor, fidelity: Tensor) -> Tensor:
        mixed = self.encode_enc(torch.cat([encoded, generated], dim=1))
        return generated + fidelity * (generated * self.scale(mixed) + self.shift(mixed))


def _encoder(width: int, multipliers: tuple[int, ...], code_width: int) -> tuple[list[nn.Module], list[int]]:
    """The encoder's blocks, and the number of the last one at each scale but the smallest, largest scale first."""
    blocks: list[nn.Module] = [nn.Conv2d(3, width, 3, padding=1)]
    taps, channels = [], width
    for step, multiplier in enumerate(multipliers, 1):
        last = step == len(multipliers)
        for _ in range(2):
            blocks.append(_ResidualBlock(channels, width * multiplier))
            channels = width * multiplier
            if last:
                blocks.append(_AttentionBlock(channels))
        if not last:
            taps.append(len(blocks) - 1)
            blocks.append(_Downsample(channels))
    blocks += [_ResidualBlock(channels, channels), _AttentionBlock(channels), _ResidualBlock(channels, channels)]
    return [*blocks, _norm(channels), nn.Conv2d(channels, code_width, 3, padding=1)], taps


def _generator(width: int, multipliers: tuple[int, ...], code_width: int) -> tuple[list[nn.Module], list[int]]:
    """The generator's blocks, and the number of the first one at each scale but the smallest, largest scale first."""
    channels = width * multipliers[-1]
    blocks: list[nn.Module] = [nn.Conv2d(code_width, channels, 3, padding=1)]
    blocks += [_ResidualBlock(channels, channels), _AttentionBlock(channels), _ResidualBlock(channels, channels)]
    taps: list[int] = []
    for step, multiplier in enumerate(reversed(multipliers)):
        for _ in range(2):
            blocks.append(_ResidualBlock(channels, width * multiplier))
            channels = width * multiplier
            if step == 0:
                blocks.append(_AttentionBlock(channels))
        if step:
            taps.insert(0, len(blocks) - 2)
        if step < len(multipliers) - 1:
            blocks.append(_Upsample(channels))
    return [*blocks, _norm(channels), nn.Conv2d(channels, 3, 3, padding=1)], taps


class CodeFormer(nn.Module):
    """A face, FFHQ-aligned, restored: (B, 3, side, side) float to the same, RGB, range -1 to 1.

    The defaults are those of the published codeformer.pth (side 512); `width`, `multipliers` and `layers` make smaller
    ones. `fused`: how many of the scales from 32 pixels up mix the encoder's features in.
    """

    def __init__(
        self,
        width: int = 64,
        multipliers: tuple[int, ...] = (1, 2, 2, 4, 4, 8),
        code_width: int = 256,
        codes: int = 1024,
        embedding: int = 512,
        heads: int = 8,
        layers: int = 9,
        fused: int = 4,
    ) -> None:
        super().__init__()
        encoder, taps = _encoder(width, multipliers, code_width)
        generator, inlets = _generator(width, multipliers, code_width)
        self.encoder, self.generator = _Blocks(encoder), _Blocks(generator)
        self.quantize = _Codebook(codes, code_width)
        self.position_emb = nn.Parameter(torch.zeros(16 * 16, embedding))
        self.feat_emb = nn.Linear(code_width, embedding)
        self.ft_layers = nn.Sequential(*(_TransformerLayer(embedding, heads) for _ in range(layers)))
        self.idx_pred_layer = nn.Sequential(nn.LayerNorm(embedding), nn.Linear(embedding, codes, bias=False))
        scales = [16 << number for number in range(len(multipliers) - 1, 0, -1)][-fused:]  # largest first
        self._taps = dict(zip(taps[-fused:], scales, strict=True))
        self._inlets = dict(zip(inlets[-fused:], scales, strict=True))
        channels = dict(zip(scales, multipliers[:-1][-fused:], strict=True))
        self.fuse_convs_dict = nn.ModuleDict(
            {str(scale): _FuseBlock(width * channels[scale]) for scale in reversed(scales)}
        )

    def forward(self, face: Tensor, fidelity: Tensor) -> Tensor:
        """`fidelity` (B,): 0 trusts the codebook alone, 1 keeps most of the input; the paper's w."""
        encoded: dict[int, Tensor] = {}
        x = face
        for number, block in enumerate(self.encoder.blocks):
            x = block(x)
            if number in self._taps:
                encoded[self._taps[number]] = x
        x = _match_statistics(self._look_up(x), x)
        weight = fidelity[:, None, None, None]
        for number, block in enumerate(self.generator.blocks):
            x = block(x)
            if number in self._inlets:
                scale = self._inlets[number]
                x = self.fuse_convs_dict[str(scale)](encoded[scale], x, weight)
        return x

    def _look_up(self, features: Tensor) -> Tensor:
        """The codebook's entries that the transformer reads in the features; both (B, code width, 16, 16)."""
        x = self.feat_emb(features.flatten(2).transpose(1, 2))  # (B, places, embedding)
        for layer in self.ft_layers:
            x = layer(x, self.position_emb)
        codes: Tensor = self.quantize.embedding(self.idx_pred_layer(x).argmax(dim=2))
        return codes.transpose(1, 2).unflatten(2, features.shape[2:])


def _match_statistics(content: Tensor, style: Tensor) -> Tensor:
    """Adaptive instance normalisation: `content` with the mean and deviation that each channel of `style` has."""
    (mean, deviation), (wanted_mean, wanted_deviation) = (
        (x.mean((2, 3), keepdim=True), (x.var((2, 3), keepdim=True) + 1e-5).sqrt()) for x in (content, style)
    )
    return (content - mean) / deviation * wanted_deviation + wanted_mean
