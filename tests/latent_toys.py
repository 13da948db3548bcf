"""A generator and a recogniser whose answers are known: pixels are the numbers of z."""

from __future__ import annotations

import torch
from torch import Tensor, nn

LATENT, SCALE = 6, 20.0


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


class Toy(nn.Module):
    """Feature map i is z[i] everywhere; pixel i of the picture is the mean of map i, in [-1, 1].

    Args:
        entangled: pixel 1 shows z[0] as well: whoever gains glasses gets other hair.
    """

    def __init__(self, entangled: bool = False) -> None:
        super().__init__()
        self.latent = LATENT
        mixing = torch.eye(LATENT)
        mixing[1, 0] = float(entangled)
        self.mixing = nn.Parameter(mixing, requires_grad=False)

    def forward(self, latent: Tensor) -> Tensor:
        return self.from_block(self.up_to_block(latent, 1), 1)

    def up_to_block(self, latent: Tensor, count: int) -> Tensor:
        return latent[:, :, None, None].expand(-1, -1, 4, 4)

    def from_block(self, activations: Tensor, count: int) -> Tensor:
        pixels = activations.mean((2, 3)) @ self.mixing.T / SCALE
        return pixels.view(-1, 1, 2, 3).expand(-1, 3, -1, -1)


class Reader:
    """Reads z off the pictures: glasses z[0] > 0, hair z[1] > 0, beard z[2] > 1, yaw z[3]."""

    def __init__(self, *names: str) -> None:
        self.names = names or ("glasses", "hair", "beard", "yaw")

    def predict(self, images: Tensor) -> dict[str, Tensor]:
        assert images.min() >= 0 and images.max() <= 1
        z = (images[:, 0].flatten(1) * 2 - 1) * SCALE
        read = truth(z.round(decimals=4))
        return {name: read[name] for name in self.names}


def truth(z: Tensor) -> dict[str, Tensor]:
    return {
        "glasses": (z[:, 0] > 0).long(),
        "hair": (z[:, 1] > 0).long(),
        "beard": (z[:, 2] > 1).long(),
        "yaw": z[:, 3],
    }
