"""Entire face synthesis: new faces drawn from a model of the training faces."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from dfa_instruct.records import Face, Forgery, Landmarks, Pixels
from dfa_instruct.techniques.warping import border, piecewise_affine, usable
from dfa_instruct.vocabulary import Category

if TYPE_CHECKING:
    import torch
    from sklearn.decomposition import PCA

FEWEST_FACES = 8
DIVERGENCE_WEIGHT = 0.05
"""More: new faces are likelier and smoother. Less: they come nearer to single training faces."""
MOST_OF_ONE = 0.5
"""How much of what sets a training face apart from the mean may be found in a new face, which is to be nobody's."""
DRAWS = 20


class Eigenfaces:
    """A mean face and the directions in which faces vary, in shape and in picture (Turk and Pentland, 1991).

    As in appearance models (Cootes et al., 2001), every face is warped to one shape before the pictures are compared.
    A new face draws a coefficient for each direction, and its picture is warped to its shape. `fit` once; the
    result is a technique like the others.
    """

    name: ClassVar[str] = "eigenface"
    category: ClassVar[Category] = "entire_face_synthesis"

    def __init__(self, mean_shape: Landmarks, shapes: PCA, pictures: PCA) -> None:
        """Take what `fit` learned.

        Args:
            mean_shape: the shape under which the pictures were compared, in pixels, shape (81, 2).
            shapes: of landmarks in pixels, flat (162).
            pictures: of pictures under the mean shape, flat (side · side · 3), 0 to 255.
        """
        self.mean_shape = mean_shape
        self.shapes = shapes
        self.pictures = pictures
        self.side = round((pictures.mean_.size / 3) ** 0.5)

    @classmethod
    def fit(cls, faces: Iterable[Face], components: int = 40, limit: int = 400, seed: int = 0) -> Self:
        """Learn from bona fide faces; profiles are left out.

        Args:
            faces: the training split, in an order that mixes people; aligned to one size, with landmarks.
            components: directions of variation to keep of the pictures, fewer where there are fewer faces.
            limit: faces to learn from at most. They are held in memory, side · side · 12 bytes each.
            seed: of the randomised decomposition.

        Raises:
            ValueError: there are too few faces to learn from.
        """
        from sklearn.decomposition import PCA

        shapes, pictures, _ = _in_one_shape(faces, limit)
        return cls(
            shapes.mean(0, dtype=np.float32),
            PCA(min(12, len(shapes) - 1), random_state=seed).fit(shapes.reshape(len(shapes), -1)),
            PCA(min(components, len(pictures) - 1), svd_solver="randomized", random_state=seed).fit(pictures),
        )

    def forge(self, target: Face | None, other: Face | None, rng: np.random.Generator) -> Forgery:
        """Draw a new face of the training faces' size; `target` and `other` are not looked at."""
        shape_code, picture_code = (_draw(pca, rng) for pca in (self.shapes, self.pictures))
        image, shape = self.paint(shape_code, picture_code)
        return Forgery(image, shape, {"components": int(picture_code.size)})

    def paint(self, shape_code: NDArray[np.float32], picture_code: NDArray[np.float32]) -> tuple[Pixels, Landmarks]:
        """Turn coefficients, each of shape (1, n), into a picture and its landmarks."""
        shape = self.shapes.inverse_transform(shape_code)[0].reshape(-1, 2).astype(np.float32)
        picture = self.pictures.inverse_transform(picture_code)[0].reshape(self.side, self.side, 3)
        still = border(self.side)
        image = piecewise_affine(
            np.rint(picture.clip(0, 255)).astype(np.uint8),
            np.concatenate([self.mean_shape, still]),
            np.concatenate([shape, still]),
        )
        return image, shape


def _in_one_shape(faces: Iterable[Face], limit: int) -> tuple[Landmarks, NDArray[np.float32], NDArray[np.intp]]:
    """Warp faces to their mean shape.

    Returns:
        Their shapes, (n, 81, 2); the pictures of those that could be warped, flat, (m, side · side · 3); which they
        are among the n.

    Raises:
        ValueError: there are too few faces to learn from.
    """
    kept: list[tuple[Pixels, Landmarks]] = []
    for face in faces:
        with suppress(ValueError):
            kept.append(usable(face))
        if len(kept) == limit:
            break
    if len(kept) < FEWEST_FACES:
        raise ValueError(f"synthesis learns from {FEWEST_FACES} faces that look ahead at least; {len(kept)} were given")
    shapes = np.stack([shape for _, shape in kept])
    still = border(len(kept[0][0]))
    destination = np.concatenate([shapes.mean(0, dtype=np.float32), still])
    pictures: dict[int, Pixels] = {}
    for number, (image, shape) in enumerate(kept):
        with suppress(ValueError):
            pictures[number] = piecewise_affine(image, np.concatenate([shape, still]), destination).reshape(-1)
    return shapes, np.array(list(pictures.values()), np.float32), np.array(list(pictures))


def _draw(pca: PCA, rng: np.random.Generator) -> NDArray[np.float32]:
    """Draw one coefficient a direction, normally distributed as in training, two deviations away at most."""
    deviations = np.clip(rng.standard_normal(pca.n_components_), -2, 2)
    return (deviations * np.sqrt(pca.explained_variance_)).astype(np.float32)[None]


class Vae:
    """A variational autoencoder (Kingma and Welling, 2014) of eigenface coefficients, small enough for a CPU.

    Eigenfaces draw each coefficient by itself; here a network of three layers has learned which go together, so that
    light, skin, hair and shape fit each other. It draws with NumPy: the workers need no torch.
    """

    name: ClassVar[str] = "vae"
    category: ClassVar[Category] = "entire_face_synthesis"

    def __init__(
        self,
        faces: Eigenfaces,
        layers: list[tuple[NDArray[np.float32], NDArray[np.float32]]],
        known: NDArray[np.float32],
    ) -> None:
        """Take what `fit` learned.

        Args:
            faces: the eigenfaces, of whose coefficients the network is.
            layers: the decoder's weights and biases.
            known: the training pictures' coefficients, shape (n, components), lest one of them is drawn again.
        """
        self.faces = faces
        self.layers = layers
        self.known = known

    @classmethod
    def fit(
        cls,
        faces: Iterable[Face],
        components: int = 120,
        latent: int = 24,
        steps: int = 500,
        limit: int = 400,
        seed: int = 0,
    ) -> Self:
        """Learn from bona fide faces, in about ten seconds.

        Args:
            faces: see `Eigenfaces.fit`.
            limit: see `Eigenfaces.fit`.
            components: directions of variation to keep of the pictures.
            latent: numbers that a face is drawn from.
            steps: of training.
            seed: of everything.

        Raises:
            ValueError: there are too few faces to learn from.
        """
        import torch
        from threadpoolctl import threadpool_limits
        from torch import nn

        faces = list(faces)
        # one thread: the same sums on every machine, and worker processes that are forked later have no pool to miss
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        with threadpool_limits(1), torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            basis = Eigenfaces.fit(faces, components, limit, seed)
            shapes, pictures, which = _in_one_shape(faces, limit)
            codes = np.concatenate(
                [basis.shapes.transform(shapes[which].reshape(len(which), -1)), basis.pictures.transform(pictures)], 1
            )
            x = torch.tensor(codes / _deviations(basis), dtype=torch.float32)
            # an error counts by what it does to the picture, and half as much as the greatest where it is of the shape
            weights = [
                share * torch.tensor(np.sqrt(pca.explained_variance_ / pca.explained_variance_[0]), dtype=torch.float32)
                for share, pca in ((0.5, basis.shapes), (1.0, basis.pictures))
            ]
            decoder = _train_decoder(x, torch.cat(weights), latent, steps)
        torch.set_num_threads(threads)
        linear = [layer for layer in decoder if isinstance(layer, nn.Linear)]
        layers = [(i.weight.detach().numpy().T.copy(), i.bias.detach().numpy().copy()) for i in linear]
        return cls(basis, layers, codes[:, basis.shapes.n_components_ :].astype(np.float32))

    def forge(self, target: Face | None, other: Face | None, rng: np.random.Generator) -> Forgery:
        """Draw a new face of the training faces' size; `target` and `other` are not looked at."""
        latent = len(self.layers[0][0])
        for _ in range(DRAWS):
            values = rng.standard_normal((1, latent), np.float32)
            for weight, bias in self.layers[:-1]:
                values = values @ weight + bias
                values = values / (1 + np.exp(-values))
            codes = (values @ self.layers[-1][0] + self.layers[-1][1]) * _deviations(self.faces)
            shape_code, picture_code = np.split(codes, [self.faces.shapes.n_components_], axis=1)
            left = ((picture_code - self.known) ** 2).sum(1) / (self.known**2).sum(1)
            if 1 - left.min() < MOST_OF_ONE:
                image, shape = self.faces.paint(shape_code, picture_code)
                return Forgery(image, shape, {"latent": latent, "components": int(picture_code.size)})
        raise ValueError("every face drawn comes too near to one of the training faces")


def _train_decoder(x: torch.Tensor, weight: torch.Tensor, latent: int, steps: int) -> torch.nn.Sequential:
    """Train an autoencoder of coefficients, shape (n, coefficients); `weight` says how much an error of each counts."""
    import torch
    from torch import nn

    width = 256
    encoder = nn.Sequential(nn.Linear(x.shape[1], width), nn.SiLU(), nn.Linear(width, 2 * latent))
    decoder = nn.Sequential(
        nn.Linear(latent, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, x.shape[1])
    )
    optimizer = torch.optim.AdamW([*encoder.parameters(), *decoder.parameters()], 2e-3)
    for _ in range(steps):
        batch = x[torch.randint(len(x), (64,))]
        mean, log_variance = encoder(batch + 0.1 * torch.randn_like(batch)).chunk(2, 1)
        drawn = decoder(mean + torch.randn_like(mean) * (log_variance / 2).exp())
        divergence = 0.5 * (mean**2 + log_variance.exp() - 1 - log_variance).sum(1).mean()
        loss = ((drawn - batch) ** 2 * weight).sum(1).mean() + DIVERGENCE_WEIGHT * divergence
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return decoder


def _deviations(faces: Eigenfaces) -> NDArray[np.float32]:
    """Standard deviation of each coefficient, of shape first."""
    variances = [pca.explained_variance_ for pca in (faces.shapes, faces.pictures)]
    return np.sqrt(np.concatenate(variances)).astype(np.float32)
