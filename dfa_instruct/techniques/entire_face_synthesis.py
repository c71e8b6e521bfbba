"""Entire face synthesis: new faces are drawn from a model of the training faces."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, ClassVar, Final, Self

import numpy as np
from numpy.typing import NDArray

from dfa_instruct.records import Face, Forgery, Landmarks, Pixels
from dfa_instruct.techniques import Fittable
from dfa_instruct.techniques.warping import border_points, piecewise_affine, usable
from dfa_instruct.vocabulary import Category

if TYPE_CHECKING:
    import torch
    from sklearn.decomposition import PCA

MIN_FACES = 8
"""The smallest number of faces that a model can be fitted to."""
DIVERGENCE_WEIGHT = 0.05
"""The weight of the divergence in the loss. A larger weight makes new faces smoother and less like a training face."""
MAX_RESEMBLANCE = 0.5
"""The largest share of a training face's deviation from the mean that a new face may have. It must be nobody's face."""
MAX_DRAWS = 20
"""The number of faces that are drawn until one does not resemble a training face."""


class Eigenfaces:
    """A model of faces by the principal components of their shapes and pictures (Turk and Pentland, 1991).

    As in appearance models (Cootes et al., 2001), all faces are warped to their mean shape before their pictures are
    compared. A new face gets a random coefficient for each component, and its picture is warped to its shape.

    Args:
        mean_shape: The shape in which the pictures are compared, in pixels, shape (81, 2).
        shapes: The components of landmarks in pixels, flattened to (162,).
        pictures: The components of pictures in the mean shape, flattened to (side · side · 3,), from 0 to 255.
    """

    name: ClassVar[str] = "eigenface"
    category: ClassVar[Category] = "entire_face_synthesis"

    def __init__(self, mean_shape: Landmarks, shapes: PCA, pictures: PCA) -> None:
        self.mean_shape = mean_shape
        self.shapes = shapes
        self.pictures = pictures
        self.side = round((pictures.mean_.size / 3) ** 0.5)

    @classmethod
    def fit(cls, faces: Iterable[Face], components: int = 40, limit: int = 400, seed: int = 0) -> Self:
        """Fit the model to bona fide faces, except profiles.

        Args:
            faces: Aligned faces of one size with landmarks, in an order that mixes people.
            components: The largest number of picture components.
            limit: The largest number of faces. They are held in memory, side · side · 12 bytes each.
            seed: The seed of the randomised decomposition.

        Raises:
            ValueError: There are too few faces to learn from.
        """
        shapes, pictures, _ = _to_mean_shape(faces, limit)
        return cls.decompose(shapes, pictures, components, seed)

    @classmethod
    def decompose(cls, shapes: Landmarks, pictures: NDArray[np.float32], components: int, seed: int) -> Self:
        """Fit principal components.

        Args:
            shapes: Landmarks, shape (n, 81, 2).
            pictures: Flattened pictures that were warped to the mean shape, shape (m, side · side · 3).
            components: The number of components.
            seed: The seed of the random projections.
        """
        from sklearn.decomposition import PCA

        return cls(
            shapes.mean(0, dtype=np.float32),
            PCA(min(12, len(shapes) - 1), random_state=seed).fit(shapes.reshape(len(shapes), -1)),
            PCA(min(components, len(pictures) - 1), svd_solver="randomized", random_state=seed).fit(pictures),
        )

    def forge(self, target: Face | None, other: Face | None, rng: np.random.Generator) -> Forgery:
        """Draw a new face of the training faces' size, see `Technique`. `target` and `other` are ignored."""
        shape_code, picture_code = (_draw(pca, rng) for pca in (self.shapes, self.pictures))
        image, shape = self.decode(shape_code, picture_code)
        return Forgery(image, shape, {"components": int(picture_code.size)})

    def decode(self, shape_code: NDArray[np.float32], picture_code: NDArray[np.float32]) -> tuple[Pixels, Landmarks]:
        """Turn the coefficients of one face, each of shape (1, n), into its picture and its landmarks."""
        shape = self.shapes.inverse_transform(shape_code)[0].reshape(-1, 2).astype(np.float32)
        picture = self.pictures.inverse_transform(picture_code)[0].reshape(self.side, self.side, 3)
        pixels = np.rint(picture.clip(0, 255)).astype(np.uint8)
        return piecewise_affine(pixels, self.mean_shape, shape, border_points(self.side)), shape


def _to_mean_shape(faces: Iterable[Face], limit: int) -> tuple[Landmarks, NDArray[np.float32], NDArray[np.intp]]:
    """Warp faces to their mean shape.

    Returns:
        The shapes of the n usable faces, (n, 81, 2), the flat pictures of the m faces that could be warped,
        (m, side · side · 3), and the indices of these m faces, (m,).
    """
    kept: list[tuple[Pixels, Landmarks]] = []
    for face in faces:
        with suppress(ValueError):
            kept.append(usable(face))
        if len(kept) == limit:
            break
    if len(kept) < MIN_FACES:
        raise ValueError(f"synthesis needs at least {MIN_FACES} faces that look ahead; {len(kept)} were given")
    shapes = np.stack([shape for _, shape in kept])
    mean_shape, border = shapes.mean(0, dtype=np.float32), border_points(len(kept[0][0]))
    pictures: dict[int, Pixels] = {}
    for index, (image, shape) in enumerate(kept):
        with suppress(ValueError):
            pictures[index] = piecewise_affine(image, shape, mean_shape, border).reshape(-1)
    return shapes, np.array(list(pictures.values()), np.float32), np.array(list(pictures))


def _draw(pca: PCA, rng: np.random.Generator) -> NDArray[np.float32]:
    """Draw normally distributed coefficients, at most two standard deviations from the mean."""
    deviations = np.clip(rng.standard_normal(pca.n_components_), -2, 2)
    return (deviations * np.sqrt(pca.explained_variance_)).astype(np.float32)[None]


class Vae:
    """A variational autoencoder (Kingma and Welling, 2014) of eigenface coefficients, small enough for a CPU.

    `Eigenfaces` draws each coefficient independently. This network of three layers has learned which coefficients
    belong together, so that light, skin, hair and shape match. Drawing uses NumPy, so that workers do not load torch.

    Args:
        faces: The eigenfaces that the coefficients belong to.
        layers: The decoder's weights and biases.
        known: The picture coefficients of the training faces, shape (n, components), which no new face may resemble.
    """

    name: ClassVar[str] = "vae"
    category: ClassVar[Category] = "entire_face_synthesis"

    def __init__(
        self,
        faces: Eigenfaces,
        layers: list[tuple[NDArray[np.float32], NDArray[np.float32]]],
        known: NDArray[np.float32],
    ) -> None:
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
        """Train the network on bona fide faces, which takes about ten seconds.

        Args:
            faces: See `Eigenfaces.fit`.
            components: The largest number of picture components.
            latent: The number of latent variables.
            steps: The number of training steps.
            limit: See `Eigenfaces.fit`.
            seed: The seed of all randomness.

        Raises:
            ValueError: There are too few faces to learn from.
        """
        import torch
        from threadpoolctl import threadpool_limits
        from torch import nn

        # With one thread, sums are the same on every machine, and worker processes can be forked safely later.
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        with threadpool_limits(1), torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            shapes, pictures, indices = _to_mean_shape(faces, limit)
            basis = Eigenfaces.decompose(shapes, pictures, components, seed)
            shapes = shapes[indices].reshape(len(indices), -1)
            codes = np.concatenate([basis.shapes.transform(shapes), basis.pictures.transform(pictures)], 1)
            x = torch.tensor(codes / _deviations(basis), dtype=torch.float32)
            # An error weighs as much as its effect on the picture. The shape's largest error weighs half as much.
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
        """Draw a new face of the training faces' size, see `Technique`. `target` and `other` are ignored."""
        latent = len(self.layers[0][0])
        for _ in range(MAX_DRAWS):
            values = rng.standard_normal((1, latent), np.float32)
            for weight, bias in self.layers[:-1]:
                values = values @ weight + bias
                values = values / (1 + np.exp(-values))
            codes = (values @ self.layers[-1][0] + self.layers[-1][1]) * _deviations(self.faces)
            shape_code, picture_code = np.split(codes, [self.faces.shapes.n_components_], axis=1)
            unlike = ((picture_code - self.known) ** 2).sum(1) / (self.known**2).sum(1)
            if 1 - unlike.min() < MAX_RESEMBLANCE:
                image, shape = self.faces.decode(shape_code, picture_code)
                return Forgery(image, shape, {"latent": latent, "components": int(picture_code.size)})
        raise ValueError("every face that was drawn resembles one of the training faces too much")


def _train_decoder(x: torch.Tensor, weight: torch.Tensor, latent: int, steps: int) -> torch.nn.Sequential:
    """Train an autoencoder of coefficients, shape (n, coefficients), whose errors have the given weights."""
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
    """Return the standard deviation of each coefficient, those of the shape first."""
    variances = [pca.explained_variance_ for pca in (faces.shapes, faces.pictures)]
    return np.sqrt(np.concatenate(variances)).astype(np.float32)


FITTABLE: Final[tuple[Fittable, ...]] = (Eigenfaces, Vae)
