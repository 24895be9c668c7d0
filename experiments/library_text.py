"""Real text without a download: the standard library's own sources, in tokens learned from them."""

from __future__ import annotations

import sysconfig
from pathlib import Path

import torch


def library_tokens(vocabulary: int, *, num_files: int | None = None) -> list[torch.Tensor]:
    """Return the tokens of standard library modules, one row for each file.

    The tokens are byte pairs, learned from these files. The text is that of the running Python, so
    numbers taken on it differ a little from one version to the next.

    Args:
        vocabulary: Tokens to learn. Bytes that do not occur have none.
        num_files: Take the first so many files in alphabetical order; all if None.
    """
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    paths = sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*.py"))[:num_files]
    texts = [path.read_text("utf-8", errors="replace") for path in paths]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(vocab_size=vocabulary, show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    return [torch.tensor(tokenizer.encode(text).ids) for text in texts]


def windows(
    tokens: torch.Tensor, count: int, context: int, *, generator: torch.Generator
) -> torch.Tensor:
    """Return pieces of a text from random places, (count, context)."""
    starts = torch.randint(len(tokens) - context + 1, (count, 1), generator=generator)
    return tokens[starts + torch.arange(context)]


def with_repeats(pieces: torch.Tensor, share: float, *, generator: torch.Generator) -> torch.Tensor:
    """Let a share of the pieces say their beginning again and again.

    The beginning has a length of its own in each piece, from an eighth to half of it, so that no
    fixed distance back tells what comes next.

    Shapes:
        pieces: (sample, position), as what is returned.
    """
    count, context = pieces.shape
    chosen = torch.rand(count, 1, generator=generator) < share
    period = torch.randint(context // 8, context // 2 + 1, (count, 1), generator=generator)
    place = torch.arange(context)
    return pieces.gather(1, torch.where(chosen, place % period, place))
